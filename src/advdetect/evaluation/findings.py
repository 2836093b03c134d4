"""What the report says in sentences: the best features, and whether the controls behave."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from advdetect.evaluation.metrics import MEAN
from advdetect.evaluation.names import OTHERS, display_name, on_own_attack

_PERCENT = "\N{NO-BREAK SPACE}%"


@dataclass(frozen=True)
class ControlCheck:
    """Whether a control has the AUROC that it must have, for one feature and one attack."""

    control: str
    feature: str
    attack: str
    expected: float
    value: float
    passed: bool


def findings(
    metrics: pd.DataFrame,
    *,
    detector: str,
    bits: str = "float32",
    positives: str = "successful",
    controls: Collection[str] = (),
) -> list[str]:
    """Say in sentences what the AUROC tables show.

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        detector: Which detector.
        bits: Which of ``float32`` and ``8bit`` the comparison of features is for.
        positives: ``successful`` or ``all``.
        controls: Control features, left out.

    Returns:
        Plain sentences: the feature that is best most often, the best and the next one for each
        attack, the largest effect of rounding to 8 bits, and the mean over pairs of attacks.
    """
    chosen = metrics[
        (metrics["metric"] == "auroc")
        & (metrics["seed"] == MEAN)
        & (metrics["detector"] == detector)
        & (metrics["positives"] == positives)
        & ~metrics["feature"].isin(list(controls))
    ]
    here = chosen[chosen["bits"] == bits]
    same = here[on_own_attack(here)]
    winners: list[str] = []
    sentences = []
    for attack, cells in same.groupby("tested_on", sort=False, observed=True):
        ranked = cells.dropna(subset="value").sort_values("value", ascending=False, kind="stable")
        winners += list(ranked["feature"].head(1))
        sentences.append(f"{display_name(str(attack))}: {_comparison(ranked)}")
    if winners:
        counts = pd.Series(winners).value_counts(sort=True)
        often = counts.index[counts == counts.max()]
        names = " and ".join(display_name(name) for name in often)
        each = " each" if len(often) > 1 else ""
        sentences.insert(
            0, f"Best on most attacks: {names} ({counts.max()} of {len(winners)} attacks{each})."
        )
    return [*sentences, *_rounding(chosen), *_across_attacks(here)]


def control_checks(metrics: pd.DataFrame, *, controls: Mapping[str, float]) -> list[ControlCheck]:
    """Compare the AUROC of each control with what it must be.

    A control passes where its value is within the full width of its 95 % interval of the expected
    one: some four standard errors, so that a sound random control fails less than once in ten
    thousand cells. An expected 0 or 1 leaves nothing to chance and must be met exactly.

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        controls: The expected AUROC of each control, the name of a detector or a feature; for
            example 0.5 for random scores and 1.0 for true labels.

    Returns:
        One check for each control and each cell that has a value and an interval (trained and
        tested on the same attack, float32, successful only).
    """
    chosen = metrics[
        (metrics["metric"] == "auroc")
        & (metrics["seed"] == MEAN)
        & (metrics["bits"] == "float32")
        & (metrics["positives"] == "successful")
        & on_own_attack(metrics)
    ].dropna(subset=["value", "low", "high"])
    return [
        ControlCheck(
            control=control,
            feature=cell["feature"],
            attack=cell["tested_on"],
            expected=expected,
            value=cell["value"],
            passed=_passes(expected, **{name: cell[name] for name in ("value", "low", "high")}),
        )
        for control, expected in controls.items()
        for cell in chosen[
            (chosen["detector"] == control) | (chosen["feature"] == control)
        ].to_dict("records")
    ]


def _passes(expected: float, value: float, low: float, high: float) -> bool:
    by_chance = high - low if 0 < expected < 1 else 0.0
    return abs(value - expected) <= by_chance + 1e-9


def _comparison(ranked: pd.DataFrame) -> str:
    """Compare the two best features; `ranked` is sorted and holds no missing value."""
    if ranked.empty:
        return "no adversarial in the test part, so there is no value."
    best = ranked.iloc[0]
    text = f"best is {display_name(best['feature'])}, AUROC {_percent(best)}"
    if len(ranked) == 1:
        return f"{text}."
    second = ranked.iloc[1]
    overlap = "overlap" if second["high"] >= best["low"] else "do not overlap"
    follower = f"{display_name(second['feature'])}, {_percent(second)}"
    return f"{text}; next is {follower}. The intervals {overlap}."


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
