"""What the report says in sentences: the best features, and whether the controls behave."""

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from advdetect.evaluation.cells import REASON, RUN, SIGNIFICANCE, of_runs, split_runs
from advdetect.evaluation.metrics import MEAN
from advdetect.protocol import OTHERS, UNCHANGED, on_own_attack
from advdetect.tables.names import display_name
from advdetect.tables.paired_table import against_best
from advdetect.tables.table import p_value_text

_PERCENT = "\N{NO-BREAK SPACE}%"


@dataclass(frozen=True)
class ControlCheck:
    """Whether a control has the AUROC that it must have, for one feature.

    Attributes:
        control: A detector, a feature, or `protocol.UNCHANGED`.
        feature: The feature.
        other: The attack; of `protocol.UNCHANGED` the detector.
        expected: The AUROC that it must have.
        value: The one that it has.
        passed: Whether they agree, up to chance.
        run: Of several runs which.
    """

    control: str
    feature: str
    other: str
    expected: float
    value: float
    passed: bool
    run: str = ""


def findings_of_runs(
    metrics: pd.DataFrame,
    paired: pd.DataFrame,
    *,
    detector: str,
    controls: Collection[str] = (),
) -> dict[str, list[str]]:
    """Say of each run what `findings` says of one, by its label."""
    tests = split_runs(paired) if len(paired) else {}
    none = paired.head(0)
    return {
        label: findings(rows, tests.get(label, none), detector=detector, controls=controls)
        for label, rows in split_runs(metrics).items()
    }


def findings(
    metrics: pd.DataFrame,
    paired: pd.DataFrame,
    *,
    detector: str,
    controls: Collection[str] = (),
) -> list[str]:
    """Say in sentences what the tables of AUROC and of paired tests show.

    They are about float32 images and successful adversarials.

    Args:
        metrics: Metrics of all features of one run, with the column ``feature``.
        paired: The paired tests of the same detector, as `paired.paired_tests` returns them.
        detector: Which detector.
        controls: Control features, left out.

    Returns:
        Plain sentences: the feature that is best most often; for each attack the best one, which
        others are significantly worse and which cannot be distinguished from it; the largest effect
        of rounding to 8 bits; and the mean over pairs of attacks.
    """
    chosen = metrics[
        (metrics["metric"] == "auroc")
        & (metrics["seed"] == MEAN)
        & (metrics["detector"] == detector)
        & (metrics["positives"] == "successful")
        & ~metrics["feature"].isin(list(controls))
    ]
    here = chosen[chosen["bits"] == "float32"]
    same = here[on_own_attack(here)]
    tests = against_best(paired, controls)
    winners: list[str] = []
    sentences = []
    for attack, cells in same.groupby("tested_on", sort=False, observed=True):
        ranked = cells.dropna(subset="value").sort_values("value", ascending=False, kind="stable")
        winners += list(ranked["feature"].head(1))
        reason = _reason(cells) if ranked.empty else ""
        comparison = reason or _comparison(ranked, tests[tests["attack"] == attack])
        sentences.append(f"{display_name(str(attack))}: {comparison}")
    if winners:
        counts = pd.Series(winners).value_counts(sort=True)
        often = counts.index[counts == counts.max()]
        names = _listed([display_name(name) for name in often])
        each = " each" if len(often) > 1 else ""
        sentences.insert(
            0, f"Best on most attacks: {names} ({counts.max()} of {len(winners)} attacks{each})."
        )
    return [*sentences, *_rounding(chosen), *_across_attacks(here)]


def control_checks(
    metrics: pd.DataFrame,
    *,
    controls: Mapping[str, float],
    unchanged: pd.DataFrame | None = None,
) -> list[ControlCheck]:
    """Compare the AUROC of each control with what it must be.

    A control passes where its value is within the full width of its 95 % interval of the expected
    one: some four standard errors, so that a sound random control fails less than once in ten
    thousand cells. Of a handful of adversarials the bootstrap sees too little, and the interval is
    far too narrow: four standard errors of the AUROC of independent scores (Mann and Whitney 1947)
    are always allowed. An expected 0 or 1 leaves nothing to chance and must be met exactly.

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        controls: The expected AUROC of each control, the name of a detector or a feature; for
            example 0.5 for random scores and 1.0 for true labels.
        unchanged: Metrics of `protocol.UNCHANGED`, where they were computed: whatever the feature
            and the detector, it must have 0.5.

    Returns:
        One check for each control and each cell that has a value and an interval (trained and
        tested on the same attack, float32, successful only).
    """
    cells = _own_cells(metrics)
    checks = [
        _check(cell, control, expected, cell["tested_on"], 4 * _standard_error(cell))
        for control, expected in controls.items()
        for cell in cells
        if control in (cell["detector"], cell["feature"])
    ]
    if unchanged is not None:
        checks += [
            _check(cell, UNCHANGED, 0.5, cell["detector"])
            for cell in _own_cells(unchanged)
            if cell["detector"] not in controls
        ]
    return checks


def _own_cells(metrics: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """Return the cells that have a value and an interval, in the form of the tables."""
    chosen = metrics[
        (metrics["metric"] == "auroc")
        & (metrics["seed"] == MEAN)
        & (metrics["bits"] == "float32")
        & (metrics["positives"] == "successful")
        & on_own_attack(metrics)
    ].dropna(subset=["value", "low", "high"])
    return of_runs(chosen).to_dict("records")


def _check(
    cell: Mapping[Hashable, Any], control: str, expected: float, other: str, allowed: float = 0.0
) -> ControlCheck:
    value = cell["value"]
    by_chance = max(cell["high"] - cell["low"], allowed) if 0 < expected < 1 else 0.0
    passed = abs(value - expected) <= by_chance + 1e-9
    return ControlCheck(control, cell["feature"], other, expected, value, passed, cell[RUN])


def _standard_error(cell: Mapping[Hashable, Any]) -> float:
    """Return that of the AUROC of scores that say nothing, of so many images."""
    positive, negative = cell["n_positive"], cell["n_negative"]
    return math.sqrt((positive + negative + 1) / (12 * positive * negative))


def _comparison(ranked: pd.DataFrame, tests: pd.DataFrame) -> str:
    """Compare the best feature with the others.

    Args:
        ranked: The features' cells, the best first, without missing values.
        tests: The rows of `against_best` of the attack.
    """
    if ranked.empty:
        return "no adversarial in the test part, so there is no value."
    best = ranked.iloc[0]
    text = f"best is {display_name(best['feature'])}, AUROC {_percent(best)}"
    tested = tests.dropna(subset="p_value").sort_values("value", ascending=False, kind="stable")
    if tested.empty:
        return f"{text}."
    significant = tested["p_value"] < SIGNIFICANCE
    groups = {
        "not distinguishable from": tested[~significant],
        "significantly better than": tested[significant],
    }
    # The shorter list is the one to read; the longer is what remains.
    shorter, longer = sorted(groups.items(), key=lambda group: len(group[1]))
    parts = [text]
    if len(shorter[1]):
        parts.append(f"{shorter[0]} {_listed(_names(shorter[1]))} ({_closest(shorter[1])})")
    if len(longer[1]) == 1:
        rest = display_name(longer[1].iloc[0]["feature"])
    else:
        rest = f"the other {len(longer[1])}"
    parts.append(f"{longer[0]} {rest} ({_closest(longer[1])})")
    return f"{'; '.join(parts)}."


def _reason(cells: pd.DataFrame) -> str:
    """Return why an attack's cells are empty, as a sentence; "" where they do not say."""
    reasons = dict.fromkeys(reason for reason in of_runs(cells)[REASON] if reason)
    return f"{'; '.join(reasons)}." if reasons else ""


def _closest(tests: pd.DataFrame) -> str:
    """Describe the comparison with the best of these features; they are sorted."""
    test = tests.iloc[0]
    name = "" if len(tests) == 1 else f"closest: {display_name(test['feature'])}, "
    low, high = (100 * value for value in (-test["high"], -test["low"]))
    points = 100 * -test["value"]
    limits = f"[{low:z.1f}, {high:z.1f}]".replace("-", "\N{MINUS SIGN}")
    p_value = p_value_text(test["p_value"]).replace(" ", "\N{NO-BREAK SPACE}")
    return f"{name}by {points:.1f} points {limits}, {p_value}"


def _names(tests: pd.DataFrame) -> list[str]:
    return [display_name(name) for name in tests["feature"]]


def _listed(names: list[str]) -> str:
    """Write names as a sentence does: "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _rounding(chosen: pd.DataFrame) -> list[str]:
    same = chosen[on_own_attack(chosen)]
    keys = ["feature", "tested_on"]
    rounded, unrounded = (
        same[same["bits"] == bits].set_index(keys)["value"] for bits in ("8bit", "float32")
    )
    change = (rounded - unrounded).dropna()
    if change.empty:
        return []
    largest = int(change.abs().to_numpy().argmax())
    feature, attack = change.index[largest]
    points = 100 * change.iloc[largest]
    return [
        f"Rounding the images to 8 bits changes no AUROC by more than {abs(points):.1f} points "
        f"({display_name(feature)} on {display_name(attack)}: {points:+.1f})."
    ]


def _across_attacks(here: pd.DataFrame) -> list[str]:
    one_attack = ~on_own_attack(here) & (here["trained_on"] != OTHERS)
    pairs = here[one_attack].dropna(subset="value")
    if pairs.empty:
        return []
    same = here[on_own_attack(here)]
    means = pairs.groupby("feature", sort=False, observed=True)["value"].mean()
    best = str(means.idxmax())
    own = same.loc[same["feature"] == best, "value"].mean()
    n_pairs = (pairs["feature"] == best).sum()
    return [
        f"Trained on one attack and tested on another: best on average is {display_name(best)}, "
        f"AUROC {100 * means[best]:.1f}{_PERCENT} (mean of {n_pairs} pairs; "
        f"{100 * own:.1f}{_PERCENT} on the attack that it is trained on)."
    ]


def _percent(cell: pd.Series) -> str:
    value, low, high = (100 * cell[name] for name in ("value", "low", "high"))
    return f"{value:.1f}{_PERCENT} [{low:.1f}, {high:.1f}]"
