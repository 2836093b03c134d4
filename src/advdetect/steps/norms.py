"""Reading from the files of attacks how far each image was moved."""

from collections.abc import Sequence

import pandas as pd

from advdetect.evaluation.perturbation import AttackNorms
from advdetect.io import read_arrays, read_provenance


def read_norms(paths: Sequence[str]) -> list[AttackNorms]:
    """Read the norms of attacks; those of an attack's seeds go together.

    Args:
        paths: Files from attack. An attack whose specification has ``_minimal_norm_`` is of that
            kind.
    """
    tables: dict[str, dict[int, pd.DataFrame]] = {}
    minimal_norm: dict[str, bool] = {}
    one_step: dict[str, bool] = {}
    for path in paths:
        facts = read_provenance(path)
        arrays = read_arrays(path, ["index", "success", "l2", "iterations"])
        name = facts["name"]
        steps = arrays.pop("iterations")
        tables.setdefault(name, {})[facts["seed"]] = pd.DataFrame(arrays)
        minimal_norm[name] = facts["spec"].get("_minimal_norm_", False)
        one_step[name] = one_step.get(name, True) and bool((steps <= 1).all())
    return [
        AttackNorms(name, minimal_norm[name], one_step[name], seeds)
        for name, seeds in tables.items()
    ]
