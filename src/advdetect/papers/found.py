"""What the pipeline found, as far as the tables of papers need it, by its names here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import AttackNorms

Spec = Mapping[str, Any]
#: Reads the scores of the cells in which columns have the values that are named.
ScoreReader = Callable[..., pd.DataFrame]
#: Of each seed a table.
Seeds = Mapping[int, pd.DataFrame]


@dataclass(frozen=True)
class Sources:
    """What the pipeline found, as far as a table needs it.

    Attributes:
        scores: By feature and seed, a reader of the scores of its detectors: detector, trained_on,
            tested_on, bits, positives, index, kind and score.
        features: By feature and attack (or ``clean``), its columns with index and kind.
        norms: By attack, what it reached.
        defenses: By defence, a row per image: attack, kind, index, success and good.
        errors: ``train_error`` and ``test_error`` of the model, by seed a row per image: index and
            success, which here is whether it is misclassified.
        runs: The same of every run, by its label, for a table of several.
    """

    scores: Mapping[str, Mapping[int, ScoreReader]]
    features: Mapping[tuple[str, str], Seeds]
    norms: Mapping[str, AttackNorms]
    defenses: Mapping[str, Seeds]
    errors: Mapping[str, Seeds] = field(default_factory=dict)
    runs: Mapping[str, "Sources"] = field(default_factory=dict)


def norms_of(attack: str, reading: Spec, sources: Sources) -> list[pd.DataFrame]:
    """Return the norms of each seed; beyond the radius of the reading nothing is a success."""
    within = reading.get("within")
    tables = list(named(sources.norms, attack, "attack").seeds.values())
    if within is None:
        return tables
    return [table.assign(success=table["success"] & (table["l2"] <= within)) for table in tables]


def named(tables: Mapping[Any, Any], name: Any, what: str) -> Any:
    """Return what has a name.

    Raises:
        AdvdetectError: There is nothing of that name.
    """
    if name not in tables:
        shown = " of ".join(name) if isinstance(name, tuple) else name
        raise AdvdetectError(f"There is no file of the {what} {shown}: give it to --inputs.")
    return tables[name]
