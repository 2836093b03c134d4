"""How well substitutes imitate their oracles, and what they have asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.evaluation.cells import BOOTSTRAP_INTERVAL
from advdetect.evaluation.perturbation import mean_with_interval, share_of
from advdetect.files.texts import read_json
from advdetect.io import read_arrays, read_provenance


def imitations(
    histories: Sequence[str],
    clean: Sequence[str],
    labels: Mapping[str, str],
    *,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Compare substitutes with their oracles on the test images, all of them.

    Args:
        histories: Histories of train; those of other trainings are left out.
        clean: Files from classify of the substitutes and their oracles, among others.
        labels: The label of each run by its identifier, empty where there is one.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        A row for each substitute and quantity (``queries``, labels that were asked for, and
        ``agreement``, the share in [0, 1] of the images that both give one class): substitute and
        oracle (their labels, "" of an oracle that is no run), quantity, value, standard_deviation,
        low, high, interval, n_positive (images of all seeds) and n_negative.
    """
    of_model = {facts["inputs"]["model"]: (facts, path) for facts, path in _with_facts(clean)}
    oracles: dict[str, str] = {}
    asked: dict[str, list[float]] = {}
    tables: dict[str, list[pd.DataFrame]] = {}
    for made in map(read_json, histories):
        if not made["history"] or "queries" not in made["history"][-1]:
            continue
        oracle, path = of_model[made["inputs"]["others"]]
        agrees = _predictions(of_model[made["key"]][1]) == _predictions(path)
        name = labels.get(made["run"], "") or "substitute"
        oracles[name] = labels.get(oracle["run"], "")
        asked.setdefault(name, []).append(made["history"][-1]["queries"])
        table = pd.DataFrame({"index": np.arange(len(agrees)), "agrees": agrees})
        tables.setdefault(name, []).append(table)
    parts = []
    for name, seeds in tables.items():
        cell = mean_with_interval(seeds, share_of("agrees"), replicates=replicates, seed=seed)
        queries = pd.DataFrame({"value": [float(np.mean(asked[name]))]})
        for quantity, own in (("queries", queries), ("agreement", cell)):
            kept = {"substitute": name, "oracle": oracles[name], "quantity": quantity}
            counts = {"n_positive": sum(map(len, seeds)), "n_negative": 0}
            parts.append(own.assign(**kept, **counts, interval=BOOTSTRAP_INTERVAL))
    return pd.concat(parts, ignore_index=True)


def _with_facts(paths: Sequence[str]) -> list[tuple[dict[str, Any], str]]:
    return [(read_provenance(path), path) for path in paths]


def _predictions(path: str) -> NDArray[np.int64]:
    return read_arrays(path, ["prediction"])["prediction"]
