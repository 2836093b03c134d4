"""Detection metrics of one feature, for every cell of the protocol, with bootstrap intervals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.evaluation.bootstrap import mean_of_seeds, percentile_interval, poisson_weights
from advdetect.protocol import CLEAN, KINDS

FALSE_POSITIVE_RATES = (0.01, 0.05)
METRICS = (
    "auroc",
    "average_precision",
    *(f"tpr_at_fpr_{rate}" for rate in FALSE_POSITIVE_RATES),
)
CELL = ["detector", "trained_on", "tested_on", "bits", "positives"]
MEAN = "mean"
_COLUMNS = [*CELL, "index", "kind", "score"]
_BLOCK = 2**17  # rows × replicates worked on at a time, so that they stay in the cache


@dataclass(frozen=True)
class _Cell:
    """One cell of one seed: estimates (M,), their replicates (M, B) or (M, 0), and counts."""

    estimates: NDArray[np.float64]
    replicates: NDArray[np.float64]
    n_positive: int
    n_negative: int


def detection_metrics(
    scores: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray
) -> NDArray[np.float64]:
    """Compute all metrics for many sets of row weights at once.

    With s_p the score of a positive p, w_p its share of the positives' weight, FPR(s) and TPR(s)
    the shares of negatives and positives with score >= s:

    - ``auroc`` = Σ_p w_p P(negative < s_p) + P(negative = s_p)/2, so that ties count half;
    - ``average_precision`` = Σ_p w_p precision(s_p), which is Σ (R_n − R_{n−1}) P_n over distinct
      thresholds, as in scikit-learn;
    - ``tpr_at_fpr_f``: the largest TPR(s) over thresholds s with FPR(s) <= f, hence
      Σ_p w_p [FPR(s_p) <= f]. The infinite threshold is always admissible, so the value is 0 where
      even the highest positive score lets too many negatives through.

    Args:
        scores: (n,) scores, higher is more adversarial; infinite ones are allowed, NaN is not.
        positive: (n,) True for adversarial rows.
        weights: (B, n) weights of the rows, at least 0.

    Returns:
        (len(METRICS), B) values; NaN where the positives or the negatives have no weight.
    """
    order = np.argsort(-scores, kind="stable")
    positives, negatives = order[positive[order]], order[~positive[order]]
    thresholds = -scores[positives]
    last_positive = np.searchsorted(thresholds, thresholds, side="right")
    above, at_least = (
        np.searchsorted(-scores[negatives], thresholds, side=side) for side in ("left", "right")
    )

    values = np.empty((len(METRICS), len(weights)))
    step = max(1, _BLOCK // max(1, len(scores)))
    for start in range(0, len(weights), step):
        block = weights[start : start + step].T
        positive_weight = block[positives].astype(np.float64)
        true_positives = _cumulative(positive_weight)
        false_positives = _cumulative(block[negatives])
        positive_total, negative_total = true_positives[-1], false_positives[-1]
        true_positives_at, false_positives_at = (
            true_positives[last_positive],
            false_positives[at_least],
        )
        flagged = true_positives_at + false_positives_at
        precision = np.divide(true_positives_at, flagged, out=flagged, where=flagged > 0)
        lost = _dot(positive_weight, false_positives_at + false_positives[above])
        with np.errstate(invalid="ignore"):  # 0/0 where a class has no weight
            false_positive_rate = false_positives_at / negative_total
            part = np.stack(
                [
                    1 - lost / (2 * positive_total * negative_total),
                    _dot(positive_weight, precision) / positive_total,
                    *(
                        _dot(positive_weight, false_positive_rate <= rate) / positive_total
                        for rate in FALSE_POSITIVE_RATES
                    ),
                ]
            )
        part[:, (positive_total == 0) | (negative_total == 0)] = np.nan
        values[:, start : start + step] = part
    return values


def evaluate_feature(
    seeds: Mapping[int, pd.DataFrame],
    *,
    replicates: int,
    seed: int,
    primary_detector: str,
) -> pd.DataFrame:
    """Compute every metric of one feature in every cell, per seed and as a mean over seeds.

    The intervals are 95 % percentile intervals of a Poisson bootstrap over source images: an
    image's clean, noisy and adversarial rows share one weight. They are computed where a reader
    looks for them: for cells trained and tested on the same attack or trained on clean images (all
    detectors) and for every cell of the primary detector. Other cells have a value and NaN as
    interval.

    The mean is taken over the seeds in which the cell has a value; in each replicate those seeds
    are drawn with replacement and images get their weights; replicates that leave a seed without
    positives or negatives are left out. With few seeds this is approximate: it understates the
    spread between S seeds by a factor (S − 1)/S in variance, and for one seed it contains none.

    Args:
        seeds: For each run seed a table with columns detector, trained_on, tested_on, bits,
            positives, index, kind (clean, noisy or adversarial) and score (higher is more
            adversarial, NaN in all rows of a cell whose detector had nothing to be fitted on); one
            row per cell, image and kind.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).
        primary_detector: The detector whose cross-attack cells get intervals as well.

    Returns:
        One row per cell, metric and seed: detector, trained_on, tested_on, bits, positives, metric,
        seed (the run seed as text, or "mean"), value, standard_deviation (over seeds, ddof 1; NaN
        for a single seed), low, high, n_positive, n_negative (rows; summed over seeds for the
        mean). A cell without positives, without negatives or without scores has the value NaN.

    Raises:
        AdvdetectError: If a table lacks a column or has an unknown kind, or some scores of a cell
            are NaN.
    """
    if not seeds:
        raise AdvdetectError(
            "There are no scores to evaluate: give the table of at least one seed."
        )
    for run, scores in seeds.items():
        check_scores(run, scores)
    images = np.unique(np.concatenate([scores["index"].to_numpy() for scores in seeds.values()]))
    weights = poisson_weights(images, replicates, seed)

    cells: dict[tuple[str, ...], dict[int, _Cell]] = {}
    for run, scores in seeds.items():
        for key, cell in _cells(scores, images, weights, primary_detector):
            cells.setdefault(key, {})[run] = cell
    rows = [
        (*key, *row)
        for key, runs in cells.items()
        for row in [*_rows_of_seeds(runs), *_rows_of_mean(runs, seed)]
    ]
    columns = ["metric", "seed", "value", "standard_deviation", "low", "high"]
    return pd.DataFrame(rows, columns=[*CELL, *columns, "n_positive", "n_negative"])


def check_scores(run: int, scores: pd.DataFrame) -> None:
    """Check that a table is one of scores, as `evaluate_feature` takes them.

    Args:
        run: The run seed, for the message.
        scores: The table.

    Raises:
        AdvdetectError: It lacks a column or has an unknown kind or a NaN score.
    """
    missing = [column for column in _COLUMNS if column not in scores.columns]
    if missing:
        raise AdvdetectError(
            f"The scores of seed {run} lack the columns {', '.join(missing)}: compute them again."
        )
    unknown = sorted(set(scores["kind"].unique()) - set(KINDS))
    if unknown:
        raise AdvdetectError(
            f"The scores of seed {run} have rows of kind {unknown[0]!r}; use {', '.join(KINDS)}."
        )
    bad = scores["score"].isna()
    if bad.any():
        scored = scores.groupby(CELL, observed=True)["score"].transform("count")
        bad &= scored > 0
    if bad.any():
        first = scores.loc[bad].iloc[0]
        raise AdvdetectError(
            f"The scores of seed {run} contain {int(bad.sum())} NaN, the first for detector "
            f"{first['detector']!r} tested on {first['tested_on']!r}: look at the feature's values."
        )


def _cells(
    scores: pd.DataFrame,
    images: NDArray[np.integer],
    weights: NDArray[np.uint8],
    primary_detector: str,
) -> Iterator[tuple[tuple[str, ...], _Cell]]:
    score = scores["score"].to_numpy(np.float64)
    positive = (scores["kind"] == "adversarial").to_numpy(bool)
    image = np.searchsorted(images, scores["index"].to_numpy())
    by_image = weights.T
    for name, rows in scores.groupby(CELL, sort=False, observed=True).indices.items():
        key = tuple(str(part) for part in cast(tuple, name))
        detector, trained_on, tested_on, *_ = key
        estimates, replicates = np.full(len(METRICS), np.nan), np.empty((len(METRICS), 0))
        if not np.isnan(score[rows[0]]):  # of a cell either all or none
            measure = partial(detection_metrics, score[rows], positive[rows])
            estimates = measure(np.ones((1, len(rows))))[:, 0]
            if trained_on in (tested_on, CLEAN) or detector == primary_detector:
                replicates = measure(by_image[image[rows]].T)
        n_positive = int(positive[rows].sum())
        yield key, _Cell(estimates, replicates, n_positive, len(rows) - n_positive)


def _rows_of_seeds(runs: Mapping[int, _Cell]) -> Iterator[tuple]:
    for run, cell in runs.items():
        low, high = percentile_interval(cell.replicates)
        for i, metric in enumerate(METRICS):
            spread = (np.nan, low[i], high[i])
            yield metric, str(run), cell.estimates[i], *spread, cell.n_positive, cell.n_negative


def _rows_of_mean(runs: Mapping[int, _Cell], seed: int) -> Iterator[tuple]:
    n_positive = sum(cell.n_positive for cell in runs.values())
    n_negative = sum(cell.n_negative for cell in runs.values())
    present = [cell for cell in runs.values() if not np.isnan(cell.estimates).any()]
    values = deviations = low = high = np.full(len(METRICS), np.nan)
    if present:
        values = np.mean([cell.estimates for cell in present], axis=0)
        if len(present) > 1:
            deviations = np.std([cell.estimates for cell in present], axis=0, ddof=1)
        stacked = np.stack([cell.replicates for cell in present])
        low, high = percentile_interval(mean_of_seeds(stacked, seed))
    for i, metric in enumerate(METRICS):
        spread = (deviations[i], low[i], high[i])
        yield metric, MEAN, values[i], *spread, n_positive, n_negative


def _cumulative(weights: NDArray) -> NDArray[np.float64]:
    """Return the (n + 1, B) sums of the first 0, 1, …, n rows."""
    total = np.zeros((len(weights) + 1, weights.shape[1]))
    np.cumsum(weights, axis=0, out=total[1:])
    return total


def _dot(left: NDArray, right: NDArray) -> NDArray[np.float64]:
    return np.einsum("pb,pb->b", left, right)
