"""Paired tests between features: whose detector finds more of an attack, on the same images.

Two features are scored on the same images, so their AUROCs rise and fall together, and intervals
that overlap do not mean that the features cannot be told apart. The difference is therefore
bootstrapped itself: an image has the same weight for every feature and attack (see `bootstrap`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from advdetect.errors import AdvdetectError
from advdetect.evaluation.bootstrap import mean_of_seeds, percentile_interval
from advdetect.evaluation.metrics import check_scores
from advdetect.evaluation.ranking import ImageRanker, Ranker, rank

COLUMNS = [
    "run",
    "attack",
    "feature",
    "other",
    "auroc",
    "auroc_other",
    "difference",
    "low",
    "high",
    "p_value",
    "p_value_holm",
    "n_seeds",
    "n_positive",
    "n_negative",
]


@dataclass(frozen=True)
class _Cell:
    """One feature, attack and seed: its AUROC, the (B,) replicates of it, and its rows."""

    auroc: float
    replicates: NDArray[np.float64]
    n_positive: int
    n_negative: int


_Cells = dict[str, dict[int, _Cell]]  # of one attack, by feature and seed


def paired_tests(
    features: Mapping[str, Mapping[int, pd.DataFrame]],
    *,
    replicates: int,
    seed: int,
    run: str = "",
) -> pd.DataFrame:
    """Test for each attack and each pair of features whether their AUROCs differ.

    The interval is the 95 % percentile interval of the difference in the bootstrap of
    `metrics.evaluate_feature`, which draws images and seeds. The p value is that of a normal
    distribution with the standard deviation of the replicates, p = 2 Φ(−|difference| / deviation):
    counting replicates beyond zero could not give less than 1/B, which no correction for many
    comparisons survives. Like every such test it is too sure of itself with a handful of images,
    and with few seeds as far as `evaluate_feature` says of the intervals. Where all replicates are
    equal and not zero, p is 2 / (B + 1).

    The correction (`holm`) is over all pairs and attacks, not over those with the best feature
    only: which feature is best is known from the same images, and of ten equal features the best
    would be found better than another in 15 % of the experiments instead of 5 %.

    Args:
        features: For each feature and seed what `files.scores.read_own_scores` returns.
        replicates: Number B of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).
        run: What the run is called.

    Returns:
        A row for each attack and pair of features: run, attack, feature, other, auroc, auroc_other
        (means over the seeds in which both have a value), difference (of the two, in [−1, 1]), low,
        high, p_value, p_value_holm, n_seeds (how many), n_positive and n_negative (rows of those
        seeds). NaN where no seed has a value; no row at all if there is one feature.

    Raises:
        AdvdetectError: There are no scores, or a table is not one of scores.
    """
    tables = [(number, table) for seeds in features.values() for number, table in seeds.items()]
    if not any(len(table) for _, table in tables):
        raise AdvdetectError(
            "There are no scores of the primary detector to compare: name one that they hold."
        )
    for number, table in tables:
        check_scores(number, table)
    images = ImageRanker(replicates, seed)
    attacks = dict.fromkeys(
        str(name) for _, table in tables for name in table["tested_on"].unique()
    )

    rows = []
    for attack in attacks:
        cells = {
            feature: {
                number: _cell(table, attack, images, replicates) for number, table in seeds.items()
            }
            for feature, seeds in features.items()
        }
        rows += [
            {"run": run, **_row(attack, cells, pair, seed)} for pair in combinations(features, 2)
        ]
    result = pd.DataFrame(rows, columns=COLUMNS)
    return result.assign(p_value_holm=holm(result["p_value"]))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Correct p values for the number of comparisons (Holm 1979).

    With p_(1) ≤ … ≤ p_(m), the corrected p_(i) is max_{j ≤ i} min(1, (m − j + 1) p_(j)). Rejecting
    where it is below α keeps the probability of any false rejection below α, however the tests
    depend on each other.

    Args:
        p_values: (M,) values in [0, 1]; NaN is no comparison and does not count.

    Returns:
        (M,) corrected values, NaN where there was none.
    """
    corrected = np.array(p_values, dtype=np.float64)
    compared = np.flatnonzero(~np.isnan(corrected))
    order = compared[np.argsort(corrected[compared], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * corrected[order]))
    return corrected


def _cell(table: pd.DataFrame, attack: str, images: ImageRanker, replicates: int) -> _Cell:
    rows = table[table["tested_on"] == attack]
    score = rows["score"].to_numpy(np.float64)
    positive = (rows["kind"] == "adversarial").to_numpy(bool)
    n_positive = int(positive.sum())
    n_negative = len(rows) - n_positive
    if not n_positive or not n_negative or np.isnan(score).any():
        return _Cell(np.nan, np.full(replicates, np.nan), n_positive, n_negative)
    ranker, of_images = images.of(rows["index"].to_numpy())
    ranking = rank(score, positive)
    once = Ranker(np.ones((1, 1))).aurocs(ranking, np.zeros(len(rows), dtype=np.intp))
    return _Cell(
        auroc=float(once[0]),
        replicates=ranker.aurocs(ranking, of_images),
        n_positive=n_positive,
        n_negative=n_negative,
    )


def _row(attack: str, cells: _Cells, pair: tuple[str, str], seed: int) -> dict[str, object]:
    """Compare two features on one attack, over the seeds in which both have a value."""
    first, second = (cells[feature] for feature in pair)
    runs = [
        run
        for run in first
        if run in second and not np.isnan([first[run].auroc, second[run].auroc]).any()
    ]
    row: dict[str, object] = {
        "attack": attack,
        "feature": pair[0],
        "other": pair[1],
        "n_seeds": len(runs),
        "n_positive": sum(first[run].n_positive for run in runs),
        "n_negative": sum(first[run].n_negative for run in runs),
    }
    if not runs:
        return row
    aurocs = [float(np.mean([cell[run].auroc for run in runs])) for cell in (first, second)]
    by_seed = np.stack([first[run].replicates - second[run].replicates for run in runs])
    replicated = mean_of_seeds(by_seed[:, None], seed)
    low, high = percentile_interval(replicated)
    difference = aurocs[0] - aurocs[1]
    return row | {
        "auroc": aurocs[0],
        "auroc_other": aurocs[1],
        "difference": difference,
        "low": low[0],
        "high": high[0],
        "p_value": _p_value(difference, replicated[0]),
    }


def _p_value(difference: float, replicated: NDArray[np.float64]) -> float:
    """Return the two-sided p value of a difference whose (B,) replicates are given."""
    values = replicated[~np.isnan(replicated)]
    if len(values) < 2:
        return np.nan
    deviation = float(values.std(ddof=1))
    if deviation > 0:
        return math.erfc(abs(difference) / (math.sqrt(2) * deviation))
    return 1.0 if difference == 0 else 2 / (len(values) + 1)
