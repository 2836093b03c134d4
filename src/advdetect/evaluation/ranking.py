"""How well scores rank positives above negatives, for many sets of row weights at once."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from advdetect.evaluation.bootstrap import poisson_weights
from advdetect.protocol import FALSE_POSITIVE_RATES

METRICS = (
    "auroc",
    "average_precision",
    *(f"tpr_at_fpr_{rate}" for rate in FALSE_POSITIVE_RATES),
)
_BLOCK = 2**19  # rows × replicates worked on at a time, so that they stay in the cache
_TINY = np.finfo(np.float64).tiny
_NARROW = 32  # replicates below which NumPy's own cumulative sum is faster than one row at a time


class Ranker:
    """Metrics of many cells under the same weights, in memory that is asked for once.

    Fresh memory for each cell would cost as much as the arithmetic: the system clears every page.

    An image that a replicate has w times stands w times among the positives and w times among the
    negatives. Of the w² pairs that its adversarial forms with its own clean image, ``auroc`` counts
    w: on average as many as there are without a bootstrap, where w² would be twice as many and move
    all replicates towards how an adversarial image compares with the very image it was made from.

    Args:
        weights: (m, B) weights, at least 0, of what rows come from: one row per source image.
    """

    def __init__(self, weights: NDArray) -> None:
        # Sums of whole numbers are exact in any order and type; these are the fastest.
        whole = np.issubdtype(weights.dtype, np.integer)
        self._dtype = np.dtype(np.int32 if whole else np.float64)
        self._weights = np.ascontiguousarray(weights, dtype=self._dtype)
        self._repeats = bool((self._weights > 1).any())
        self._memory: dict[str, NDArray] = {}

    def metrics(self, ranking: "Ranking", rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute the (len(METRICS), B) values of all metrics; see `detection_metrics`.

        Args:
            ranking: Of the scores, from `rank`.
            rows: (n,) row of ``weights`` that each score has.
        """
        return self._in_blocks(_metrics, len(METRICS), ranking, rows)

    def aurocs(self, ranking: "Ranking", rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute the (B,) values of ``auroc`` alone."""
        return self._in_blocks(_auroc, 1, ranking, rows)[0]

    def _in_blocks(
        self,
        measure: Callable[["_Block"], NDArray[np.float64]],
        count: int,
        ranking: "Ranking",
        rows: NDArray[np.intp],
    ) -> NDArray[np.float64]:
        replicates = self._weights.shape[1]
        values = np.empty((count, replicates))
        nothing = np.empty(0, dtype=np.intp), np.empty((2, 0))
        own = _own_pairs(ranking, rows) if self._repeats else nothing
        step = max(4 * _NARROW, _BLOCK // max(1, len(rows)))
        for start in range(0, replicates, step):
            block = self._block(ranking, self._weights[:, start : start + step], rows, own)
            with np.errstate(invalid="ignore"):  # 0/0 where a class has no weight
                found = measure(block)
            found[:, (block.positive_total == 0) | (block.negative_total == 0)] = np.nan
            values[:, start : start + step] = found
        return values

    def _block(
        self,
        ranking: "Ranking",
        weights: NDArray,
        rows: NDArray[np.intp],
        own: tuple[NDArray[np.intp], NDArray[np.float64]],
    ) -> "_Block":
        true_positives = self._cumulative("positive", weights, rows[ranking.positives])
        false_positives = self._cumulative("negative", weights, rows[ranking.negatives])
        shape = (len(ranking.positives), weights.shape[1])
        at_least = self._array("at least", shape, self._dtype)
        # Without a mode, NumPy would fill a copy of what it is to write to.
        np.take(false_positives, ranking.at_least, axis=0, out=at_least, mode="clip")
        above = at_least
        if not np.array_equal(ranking.above, ranking.at_least):
            above = false_positives[ranking.above]
        positive_weight = self._array("weight", shape, np.float64)
        np.subtract(true_positives[1:], true_positives[:-1], out=positive_weight)
        images, sums = own
        of_images = weights[images].astype(np.float64)
        own_lost, own_pairs = sums @ (of_images * (of_images - 1))
        return _Block(
            positive_weight=positive_weight,
            true_positives=true_positives,
            last_positive=ranking.last_positive,
            above=above,
            at_least=at_least,
            positive_total=true_positives[-1],
            negative_total=false_positives[-1],
            own_lost=own_lost,
            own_pairs=own_pairs,
            spare=self._array("spare", shape, np.float64),
        )

    def _cumulative(self, name: str, weights: NDArray, rows: NDArray[np.intp]) -> NDArray:
        """Return the (n + 1, B) sums of the weights of the first 0, 1, …, n rows."""
        total = self._array(name, (len(rows) + 1, weights.shape[1]), self._dtype)
        total[0] = 0
        if weights.shape[1] < _NARROW:
            np.cumsum(weights[rows], axis=0, out=total[1:])
            return total
        before = total[0]
        for row, after in zip(rows.tolist(), total[1:], strict=True):  # NumPy's goes by columns
            before = np.add(before, weights[row], after)
        return total

    def _array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
        memory = self._memory.get(name)
        size = prod(shape)
        if memory is None or memory.size < size:
            memory = self._memory[name] = np.empty(size, dtype)
        return memory[:size].reshape(shape)


class ImageRanker:
    """Metrics under the bootstrap weights of source images, the same for all cells and features.

    Args:
        replicates: Number B of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).
    """

    def __init__(self, replicates: int, seed: int) -> None:
        self._replicates = replicates
        self._seed = seed
        self._images: NDArray[np.integer] = np.empty(0, dtype=np.int64)
        self._ranker: Ranker | None = None

    def of(self, index: NDArray[np.integer]) -> tuple[Ranker, NDArray[np.intp]]:
        """Return the ranker and the (n,) rows of its weights that source images have."""
        rows = np.searchsorted(self._images, index)
        rows[rows == len(self._images)] = 0
        if self._ranker is None or not np.array_equal(self._images[rows], index):
            self._images = np.union1d(self._images, index)
            self._ranker = Ranker(poisson_weights(self._images, self._replicates, self._seed).T)
            rows = np.searchsorted(self._images, index)
        return self._ranker, rows


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
    return Ranker(weights.T).metrics(rank(scores, positive), np.arange(len(scores)))


@dataclass(frozen=True)
class Ranking:
    """The (P,) positives from the highest score down, and where they stand among all rows.

    Attributes:
        positives: Their rows.
        negatives: (N,) rows of the negatives, from the highest score down.
        last_positive: How many positives have at least the score of each.
        above: How many negatives have a higher score.
        at_least: How many negatives have at least that score.
    """

    positives: NDArray[np.intp]
    negatives: NDArray[np.intp]
    last_positive: NDArray[np.intp]
    above: NDArray[np.intp]
    at_least: NDArray[np.intp]


@dataclass(frozen=True)
class _Block:
    """Weights at the thresholds s_p of the positives, from the highest down; columns: replicates.

    Attributes:
        positive_weight: (P, B) weights of the positives.
        true_positives: (P + 1, B) weights of the first 0, 1, …, P positives.
        last_positive: How many positives have at least the score of each.
        above: (P, B) weights of the negatives above s_p.
        at_least: (P, B) weights of the negatives with at least s_p.
        positive_total: (B,) weights of all positives.
        negative_total: (B,) weights of all negatives.
        own_lost: (B,) of the pairs that are left out (`Ranker`), twice those with the negative
            above and once those that tie, by their weights.
        own_pairs: (B,) weights of all pairs that are left out.
        spare: (P, B) memory to work in.
    """

    positive_weight: NDArray[np.float64]
    true_positives: NDArray
    last_positive: NDArray[np.intp]
    above: NDArray
    at_least: NDArray
    positive_total: NDArray
    negative_total: NDArray
    own_lost: NDArray[np.float64]
    own_pairs: NDArray[np.float64]
    spare: NDArray[np.float64]


def rank(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> Ranking:
    """Rank the positives of one cell among its negatives, which no weights change.

    Args:
        scores: (n,) scores, higher is more adversarial; infinite ones are allowed, NaN is not.
        positive: (n,) True for adversarial rows.
    """
    order = np.argsort(-scores, kind="stable")
    positives, negatives = order[positive[order]], order[~positive[order]]
    thresholds = -scores[positives]
    above, at_least = (
        np.searchsorted(-scores[negatives], thresholds, side=side) for side in ("left", "right")
    )
    last_positive = np.searchsorted(thresholds, thresholds, side="right")
    return Ranking(positives, negatives, last_positive, above, at_least)


def _own_pairs(
    ranking: Ranking, rows: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the (k,) rows of images that have positives and negatives, and (2, k) sums over pairs.

    They are sums of 2 where the negative is above, 1 where they tie, 0 otherwise; and of ones.
    """
    of_positives, of_negatives = rows[ranking.positives], rows[ranking.negatives]
    order = np.argsort(of_negatives, kind="stable")
    first, last = (
        np.searchsorted(of_negatives[order], of_positives, side=side) for side in ("left", "right")
    )
    counts = last - first
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    negative = order[np.repeat(first, counts) + offsets]  # its place from the highest score down
    above, at_least = (
        negative < np.repeat(places, counts) for places in (ranking.above, ranking.at_least)
    )
    lost = above.astype(np.float64) + at_least
    images, image = np.unique(np.repeat(of_positives, counts), return_inverse=True)
    sums = [np.bincount(image, part, len(images)) for part in (lost, np.ones(len(image)))]
    return images, np.array(sums)


def _auroc(block: _Block) -> NDArray[np.float64]:
    lost = _dot(block.positive_weight, np.add(block.at_least, block.above, out=block.spare))
    pairs = block.positive_total.astype(np.float64) * block.negative_total
    return (1 - (lost - block.own_lost) / (2 * (pairs - block.own_pairs)))[None]


def _metrics(block: _Block) -> NDArray[np.float64]:
    auroc = _auroc(block)
    true_positives = block.true_positives[1:]
    if (block.last_positive[:-1] == block.last_positive[1:]).any():
        true_positives = block.true_positives[block.last_positive]
    flagged = np.add(true_positives, block.at_least, out=block.spare)
    np.maximum(flagged, _TINY, out=flagged)  # where nothing is flagged, nothing is right: 0
    precision = np.divide(true_positives, flagged, out=flagged)
    average_precision = _dot(block.positive_weight, precision) / block.positive_total
    false_positive_rate = np.divide(block.at_least, block.negative_total, out=block.spare)
    columns = np.arange(len(block.positive_total))
    # The rate rises with p, so that the positives within it are the first ones.
    within = [
        block.true_positives[(false_positive_rate <= rate).sum(axis=0), columns]
        for rate in FALSE_POSITIVE_RATES
    ]
    return np.concatenate([auroc, average_precision[None], np.array(within) / block.positive_total])


def _dot(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.einsum("pb,pb->b", left, right)
