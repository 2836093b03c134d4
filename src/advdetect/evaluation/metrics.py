"""Detection metrics of one feature, for every cell of the protocol, with bootstrap intervals."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.evaluation.bootstrap import mean_of_seeds, percentile_interval
from advdetect.evaluation.ranking import METRICS as METRICS
from advdetect.evaluation.ranking import ImageRanker, Ranker, rank
from advdetect.files.scores import CELL
from advdetect.protocol import CLEAN, KINDS, MAIN_FORM

MEAN = "mean"
_COLUMNS = [*CELL, "index", "kind", "score"]


@dataclass(frozen=True)
class _Cell:
    """One cell of one seed: estimates (M,), their replicates (M, B) or (M, 0), and counts.

    Where there are no estimates, ``reason`` says why.
    """

    estimates: NDArray[np.float64]
    replicates: NDArray[np.float64]
    n_positive: int
    n_negative: int
    reason: str


def evaluate_feature(
    seeds: Mapping[int, Iterable[pd.DataFrame]],
    *,
    replicates: int,
    seed: int,
    primary_detector: str,
    run: str = "",
) -> pd.DataFrame:
    """Compute every metric of one feature in every cell, per seed and as a mean over seeds.

    The intervals are 95 % percentile intervals of a Poisson bootstrap over source images: an
    image's clean, noisy and adversarial rows share one weight. They are computed where a reader
    looks for them: for cells trained and tested on the same attack or trained on clean images (all
    detectors) and, in the form of the cross-attack tables (`protocol.MAIN_FORM`), for every cell of
    the primary detector. Other cells have a value and NaN as interval.

    The mean is taken over the seeds in which the cell has a value; in each replicate those seeds
    are drawn with replacement and images get their weights; replicates that leave a seed without
    positives or negatives are left out. With few seeds this is approximate: it understates the
    spread between S seeds by a factor (S − 1)/S in variance, and for one seed it contains none.

    Args:
        seeds: For each seed of one run tables with columns detector, trained_on, tested_on, bits,
            positives, index, kind (clean, noisy or adversarial) and score (higher is more
            adversarial, NaN in all rows of a cell that cannot be had, for the ``reason`` that a
            column may name); one row per cell, image and kind, those of a cell in one table.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).
        primary_detector: The detector whose cross-attack cells get intervals as well.
        run: What the run is called.

    Returns:
        One row per cell, metric and seed: run, detector, trained_on, tested_on, bits, positives,
        metric, seed (the run's seed as text, or "mean"), value, standard_deviation (over seeds,
        ddof 1; NaN for a single seed), low, high, n_positive, n_negative (rows; summed over seeds
        for the mean) and reason. A cell without positives, without negatives or without scores has
        the value NaN and a reason, which is empty for every other.

    Raises:
        AdvdetectError: If a table lacks a column or has an unknown kind, some scores of a cell are
            NaN, or a cell is in two tables.
    """
    if not seeds:
        raise AdvdetectError(
            "There are no scores to evaluate: give the table of at least one seed."
        )
    images = ImageRanker(replicates, seed)
    cells: dict[tuple[str, ...], dict[int, _Cell]] = {}
    for number, tables in seeds.items():
        for table in tables:
            check_scores(number, table)
            for key, cell in _cells(table, images, primary_detector):
                if number in cells.setdefault(key, {}):
                    raise AdvdetectError(
                        f"The scores of seed {number} have the cell {', '.join(key)} twice."
                    )
                cells[key][number] = cell
    rows = [
        (run, *key, *row)
        for key, own in cells.items()
        for row in [*_rows_of_seeds(own), *_rows_of_mean(own, seed)]
    ]
    columns = ["metric", "seed", "value", "standard_deviation", "low", "high"]
    return pd.DataFrame(
        rows, columns=["run", *CELL, *columns, "n_positive", "n_negative", "reason"]
    )


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
    scores: pd.DataFrame, images: ImageRanker, primary_detector: str
) -> Iterator[tuple[tuple[str, ...], _Cell]]:
    score = scores["score"].to_numpy(np.float64)
    positive = (scores["kind"] == "adversarial").to_numpy(bool)
    index = scores["index"].to_numpy()
    once = Ranker(np.ones((1, 1)))
    for name, rows in scores.groupby(CELL, sort=False, observed=True).indices.items():
        key = tuple(str(part) for part in cast(tuple, name))
        detector, trained_on, tested_on, *form = key
        estimates, replicates = np.full(len(METRICS), np.nan), np.empty((len(METRICS), 0))
        n_positive = int(positive[rows].sum())
        reason = ""
        if np.isnan(score[rows[0]]):  # of a cell either all or none
            reason = str(scores["reason"].iloc[rows[0]]) if "reason" in scores else "no scores"
        elif not n_positive or n_positive == len(rows):
            missing = "clean or noisy" if n_positive else "adversarial"
            reason = f"no {missing} image to test on"
        else:
            ranking = rank(score[rows], positive[rows])
            estimates = once.metrics(ranking, np.zeros(len(rows), dtype=np.intp))[:, 0]
            is_in_a_table = detector == primary_detector and tuple(form) == MAIN_FORM
            if trained_on in (tested_on, CLEAN) or is_in_a_table:
                ranker, of_images = images.of(index[rows])
                replicates = ranker.metrics(ranking, of_images)
        yield key, _Cell(estimates, replicates, n_positive, len(rows) - n_positive, reason)


def _rows_of_seeds(seeds: Mapping[int, _Cell]) -> Iterator[tuple]:
    for number, cell in seeds.items():
        low, high = percentile_interval(cell.replicates)
        for i, metric in enumerate(METRICS):
            interval = (np.nan, low[i], high[i])
            counts = (cell.n_positive, cell.n_negative, cell.reason)
            yield metric, str(number), cell.estimates[i], *interval, *counts


def _rows_of_mean(seeds: Mapping[int, _Cell], seed: int) -> Iterator[tuple]:
    n_positive = sum(cell.n_positive for cell in seeds.values())
    n_negative = sum(cell.n_negative for cell in seeds.values())
    present = [cell for cell in seeds.values() if not np.isnan(cell.estimates).any()]
    reason = ""
    values = deviations = low = high = np.full(len(METRICS), np.nan)
    if present:
        values = np.mean([cell.estimates for cell in present], axis=0)
        if len(present) > 1:
            deviations = np.std([cell.estimates for cell in present], axis=0, ddof=1)
        stacked = np.stack([cell.replicates for cell in present])
        low, high = percentile_interval(mean_of_seeds(stacked, seed))
    else:
        reason = "; ".join(dict.fromkeys(cell.reason for cell in seeds.values()))
    for i, metric in enumerate(METRICS):
        spread = (deviations[i], low[i], high[i])
        yield metric, MEAN, values[i], *spread, n_positive, n_negative, reason
