"""How far images must be moved to fool a model: norms of successes, fooling rates, intervals.

The statistics are means over seeds. Their 95 % intervals are those of `metrics.evaluate_feature`: a
Poisson bootstrap over source images, with the seeds drawn in each replicate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from advdetect.evaluation.bootstrap import mean_of_seeds, percentile_interval, poisson_weights

#: Of one seed: maps its images and (B, n) weights of them to (M, B) values, NaN for none.
Statistic = Callable[[pd.DataFrame, NDArray[np.float64]], NDArray[np.float64]]

_BLOCK = 2**20  # rows × replicates worked on at a time


@dataclass(frozen=True)
class AttackNorms:
    """What an attack reached, image by image.

    Attributes:
        attack: Name of the attack.
        minimal_norm: Whether it looks for the least perturbation, as against spending a budget.
        one_step: Whether no image took more than one step.
        seeds: For each seed a table with a row per attacked image: index, success, success_8bit
            (of the rounded image), crafted_success (where it was crafted), l2, the L2 norm of the
            clipped perturbation in pixel units of [0, 1], and distortion, its root mean square over
            the numbers of the image.
        left_out: For each seed a table of the images that were crafted on another model and that
            the judging one gets wrong when clean: index, success and crafted_success.
    """

    attack: str
    minimal_norm: bool
    one_step: bool
    seeds: Mapping[int, pd.DataFrame]
    left_out: Mapping[int, pd.DataFrame] = field(default_factory=dict)


def mean_with_interval(
    seeds: Sequence[pd.DataFrame], statistic: Statistic, *, replicates: int, seed: int
) -> pd.DataFrame:
    """Compute the means of statistics over seeds, with their 95 % bootstrap intervals.

    Args:
        seeds: One table per seed, with the column ``index`` of source images.
        statistic: What is computed of each; seeds without a value are left out.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        A row for each of the M statistics: value, standard_deviation (over seeds, ddof 1; NaN for a
        single one), low and high; NaN where there is no value.
    """
    plain = [statistic(table, np.ones((1, len(table))))[:, 0] for table in seeds]
    present = [i for i, values in enumerate(plain) if not np.isnan(values).any()]
    columns = ["value", "standard_deviation", "low", "high"]
    if not present:
        return pd.DataFrame(np.nan, index=range(len(plain[0])), columns=columns)
    values = np.stack([plain[i] for i in present])
    tables = [seeds[i] for i in present]
    images = np.unique(np.concatenate([table["index"] for table in tables]))
    weights = poisson_weights(images, replicates, seed)
    blocks = np.array_split(weights, -(-weights.size // _BLOCK))
    replicated = [
        np.concatenate([statistic(t, _of_rows(block, images, t)) for block in blocks], axis=1)
        for t in tables
    ]
    low, high = percentile_interval(mean_of_seeds(np.stack(replicated), seed))
    deviation = values.std(axis=0, ddof=1) if len(values) > 1 else np.nan
    return pd.DataFrame(
        dict(zip(columns, (values.mean(axis=0), deviation, low, high), strict=True))
    )


def mean_of_successes(column: str) -> Statistic:
    """Return the statistic of the mean of a column over the successes."""

    def mean(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return _weighted_mean(table[column], weights * table["success"].to_numpy())[None]

    return mean


def share_of(column: str) -> Statistic:
    """Return the statistic of the share of images with a true value in a column."""

    def share(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return _weighted_mean(table[column], weights)[None]

    return share


#: The mean L2 norm and the mean distortion of the successes.
mean_success_norm, mean_success_distortion = map(mean_of_successes, ("l2", "distortion"))
#: The share of the attacked images that fool the model.
fooling_rate = share_of("success")


def mean_fooling_rate(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the values of ``part`` of the shares of images that fool, (1, B)."""
    rates = [
        fooling_rate(rows, weights[:, np.flatnonzero(table["part"] == part)])
        for part, rows in table.groupby("part", sort=False)
    ]
    return np.mean(rates, axis=0)


def fooled_within(radii: NDArray[np.float64]) -> Statistic:
    """Return the statistic of the shares of images that fool with an L2 norm up to each radius."""

    def shares(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        norms = table["l2"].where(table["success"], np.inf).to_numpy(np.float64)
        total = weights.sum(axis=1)
        reached = weights @ (norms[:, None] <= radii).astype(np.float64)
        return _divide(reached.T, total)

    return shares


def norm_at_rate(rate: float) -> Statistic:
    """Return the statistic of the least L2 norm within which that share of the images is fooled.

    Args:
        rate: The share, in (0, 1]. There is no value where fewer images are fooled at any norm.
    """

    def norm(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        norms = table["l2"].where(table["success"], np.inf).to_numpy(np.float64)
        order = np.argsort(norms, kind="stable")
        reached = np.cumsum(weights[:, order], axis=1)
        total = reached[:, -1:]
        # A share that is met exactly must not be missed by rounding.
        first = (reached >= rate * total * (1 - 1e-12)).argmax(axis=1)
        found = np.where(total[:, 0] > 0, norms[order][first], np.inf)
        return np.where(np.isinf(found), np.nan, found)[None]

    return norm


def rank_correlation(x: str, y: str) -> Statistic:
    """Return the statistic of Spearman's rank correlation of two columns.

    A weight counts an image that many times, so that ranks are those of the resampled images; ties
    share the mean of their ranks.
    """

    def correlation(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        ranks = [_ranks(table[name].to_numpy(), weights) for name in (x, y)]
        first, second = (r - _weighted_mean(r, weights)[:, None] for r in ranks)
        covariance = (weights * first * second).sum(axis=1)
        scale = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
        return _divide(covariance, scale)[None]

    return correlation


def least_perturbations(
    attacks: Sequence[AttackNorms], *, replicates: int, seed: int
) -> pd.DataFrame:
    """Compute what Table 2 of Zhao et al. 2019 shows, for every attack of the minimal-norm kind.

    Args:
        attacks: The attacks; those that spend a budget are left out.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        A row for each attack and quantity (``least_l2``, the mean over the successes in pixel units
        of [0, 1], and ``fooling_rate`` in [0, 1]): attack, quantity, value, standard_deviation, low
        and high (see `mean_with_interval`), n_seeds, n_positive and n_negative (successes and
        failures of all seeds).
    """
    parts = []
    for attack in attacks:
        if not attack.minimal_norm:
            continue
        tables = list(attack.seeds.values())
        fooled = sum(int(table["success"].sum()) for table in tables)
        counts = {
            "n_seeds": len(tables),
            "n_positive": fooled,
            "n_negative": sum(map(len, tables)) - fooled,
        }
        for quantity, statistic in (
            ("least_l2", mean_success_norm),
            ("fooling_rate", fooling_rate),
        ):
            cell = mean_with_interval(tables, statistic, replicates=replicates, seed=seed)
            cell.insert(0, "attack", attack.attack)
            cell.insert(1, "quantity", quantity)
            parts.append(cell.assign(**counts))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _of_rows(
    weights: NDArray[np.uint8], images: NDArray[np.integer], table: pd.DataFrame
) -> NDArray[np.float64]:
    """Return the weights of the table's rows out of those of all images."""
    return weights[:, np.searchsorted(images, table["index"])].astype(np.float64)


def _weighted_mean(values: ArrayLike, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (B,) means of (n,) or (B, n) values, NaN where nothing has weight."""
    return _divide((weights * np.asarray(values, np.float64)).sum(axis=1), weights.sum(axis=1))


def _divide(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Divide; NaN where the denominator is not positive."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1), np.nan)


def _ranks(values: NDArray, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (B, n) ranks of (n,) values, each counted as often as its weight says."""
    _, group = np.unique(values, return_inverse=True)
    totals = np.stack([np.bincount(group, row) for row in weights])
    below = np.cumsum(totals, axis=1) - totals
    return (below + (totals + 1) / 2)[:, group]
