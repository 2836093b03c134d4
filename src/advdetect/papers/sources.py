"""Reading what a paper's table is compared with."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.evaluation.inputs import read_defenses, read_norms
from advdetect.files.scores import read_cells
from advdetect.files.texts import read_json
from advdetect.io import read_arrays, read_provenance, read_table
from advdetect.papers.found import ScoreReader, Sources
from advdetect.provenance import ATTACKS


def read_sources(paths: Sequence[str]) -> Sources:
    """Read files of the stages, each by the one that made it."""
    scores: dict[str, dict[int, ScoreReader]] = {}
    features: dict[tuple[str, str], dict[int, pd.DataFrame]] = {}
    attacks, defenses = [], []
    errors: dict[str, dict[int, pd.DataFrame]] = {}
    for path in paths:
        if Path(path).suffix == ".json":
            history = read_json(path)
            errors.setdefault("train_error", {})[history["seed"]] = _training_errors(history)
            continue
        facts = read_provenance(path)
        step = facts["step"]
        if step in ATTACKS:
            attacks.append(path)
        elif step == "classify":
            right = read_arrays(path, ["index"])["index"]
            wrong = ~np.isin(np.arange(facts["count"]), right)
            errors.setdefault("test_error", {})[facts["seed"]] = _errors(wrong)
        elif step == "defend":
            defenses.append(path)
        elif step == "score":
            scores.setdefault(facts["name"], {})[facts["seed"]] = partial(read_cells, path)
        else:
            own = features.setdefault((facts["name"], facts["attack"]), {})
            own[facts["seed"]] = read_table(path)
    norms = {attack.attack: attack for attack in read_norms(attacks)}
    return Sources(scores, features, norms, read_defenses(defenses), errors)


def _training_errors(history: dict[str, Any]) -> pd.DataFrame:
    """Return as many errors as a training ended with, at the first of the images.

    Which they were is not kept, and for one seed changes nothing. That all seeds err on the same
    ones makes the interval over several as wide as it can be.
    """
    count = history["train_count"]
    return _errors(np.arange(count) < round((1 - history["train_accuracy"]) * count))


def _errors(wrong: NDArray[np.bool_]) -> pd.DataFrame:
    return pd.DataFrame({"index": np.arange(len(wrong)), "success": wrong})
