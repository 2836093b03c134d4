"""Reading what defences did, and what others report of them."""

from collections.abc import Sequence

import pandas as pd

from advdetect.evaluation.defenses import reported_accuracies
from advdetect.io import read_csv, read_provenance, read_table


def read_defenses(paths: Sequence[str]) -> dict[str, dict[int, pd.DataFrame]]:
    """Return what each defence did in each seed, a row per image, from files of defend."""
    defenses: dict[str, dict[int, pd.DataFrame]] = {}
    for path in paths:
        facts = read_provenance(path)
        defenses.setdefault(facts["name"], {})[facts["seed"]] = read_table(path)
    return defenses


def read_reported(path: str | None, dataset: str, cells: pd.DataFrame) -> pd.DataFrame | None:
    """Return the accuracies that are reported for the attacks of some cells, if there is a file."""
    if not path:
        return None
    return reported_accuracies(read_csv(path), dataset, list(cells["attack"].unique()))
