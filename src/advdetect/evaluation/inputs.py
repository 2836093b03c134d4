"""Reading what the stages wrote, of one run, by method and seed."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import AttackNorms
from advdetect.files.attack import LEFT_OUT, AttackFile
from advdetect.files.scores import detectors_of, read_own_scores
from advdetect.io import read_provenance, read_table
from advdetect.provenance import read_made_by

MAIN = {"bits": "float32", "positives": "successful"}
_LEFT_OUT = {"index": "int64", "success": "bool", "crafted_success": "bool"}


def read_norms(paths: Sequence[str]) -> list[AttackNorms]:
    """Read the norms of attacks; those of an attack's seeds go together.

    Args:
        paths: Files from attack. An attack whose specification has ``_minimal_norm_`` is of that
            kind.
    """
    tables: dict[str, dict[int, pd.DataFrame]] = {}
    minimal_norm: dict[str, bool] = {}
    one_step: dict[str, bool] = {}
    left_out: dict[str, dict[int, pd.DataFrame]] = {}
    for path in paths:
        attack = AttackFile(path)
        columns = ("index", "success", "success_8bit", "crafted_success", "l2", "iterations")
        facts, arrays = attack.facts, attack.columns(*columns)
        name = facts["name"]
        steps = arrays.pop("iterations")
        pixels = math.prod(attack.image_shape)
        table = pd.DataFrame(arrays).assign(distortion=arrays["l2"] / math.sqrt(pixels))
        tables.setdefault(name, {})[facts["seed"]] = table
        others = pd.DataFrame(facts.get(LEFT_OUT, {}), columns=list(_LEFT_OUT))
        left_out.setdefault(name, {})[facts["seed"]] = others.astype(_LEFT_OUT)
        minimal_norm[name] = facts["spec"].get("_minimal_norm_", False)
        one_step[name] = one_step.get(name, True) and bool((steps <= 1).all())
    return [
        AttackNorms(name, minimal_norm[name], one_step[name], seeds, left_out[name])
        for name, seeds in tables.items()
    ]


def read_defenses(paths: Sequence[str]) -> dict[str, dict[int, pd.DataFrame]]:
    """Return what each defence did in each seed, a row per image, from files of defend."""
    defenses: dict[str, dict[int, pd.DataFrame]] = {}
    for path in paths:
        facts = read_provenance(path)
        defenses.setdefault(facts["name"], {})[facts["seed"]] = read_table(path)
    return defenses


def score_files(paths: Sequence[str]) -> dict[str, dict[int, str]]:
    """Sort the files of scores of one run by feature and seed.

    Raises:
        AdvdetectError: They were not scored on the same attacks.
    """
    files: dict[str, dict[int, str]] = {}
    first: tuple[str, list[str]] | None = None
    for path in paths:
        facts = read_provenance(path)
        files.setdefault(facts["name"], {})[facts["seed"]] = path
        first = first or (path, facts["attacks"])
        if facts["attacks"] != first[1]:
            raise AdvdetectError(
                f"{first[0]} and {path} are of the same run, but not of the same attacks "
                f"({', '.join(first[1])}; {', '.join(facts['attacks'])}): compute them again."
            )
    return files


def own_scores(paths: Sequence[str], detector: str) -> dict[str, dict[int, pd.DataFrame]]:
    """Read the scores trained and tested on the same attack, by feature and seed.

    Args:
        paths: Files from score.
        detector: Which detector.

    Raises:
        AdvdetectError: There is none, one is not from score or has no scores of the detector.
    """
    scores: dict[str, dict[int, pd.DataFrame]] = {}
    if not paths:
        raise AdvdetectError("This is drawn of scores: there is no file from score among --inputs.")
    for path in paths:
        facts = read_made_by(path, "scores")
        table = read_own_scores(path, detector)
        if table.empty:
            raise _no_values(detector, detectors_of(path))
        # Cells that cannot be had have no curve.
        scores.setdefault(facts["name"], {})[facts["seed"]] = table.dropna(subset="score")
    return scores


def select(table: pd.DataFrame, detector: str) -> pd.DataFrame:
    """Return the rows of a detector, of float images and successful adversarials.

    Raises:
        AdvdetectError: There is no such detector.
    """
    chosen = table[table["detector"] == detector]
    if chosen.empty:
        raise _no_values(detector, map(str, table["detector"].unique()))
    for column, value in MAIN.items():
        chosen = chosen[chosen[column] == value]
    return chosen


def _no_values(detector: str, known: Iterable[str]) -> AdvdetectError:
    return AdvdetectError(
        f"There are no values of the detector {detector}; there are: {', '.join(known)}."
    )
