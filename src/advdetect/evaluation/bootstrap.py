"""Poisson bootstrap over source images and over seeds.

Resampling images with replacement gives each image a multinomial count; independent Poisson(1)
counts are its usual approximation (Hanley & MacGibbon 2006; Chamandy et al. 2012). Because the
counts of an image are independent of all other images, they can belong to the image alone: they are
the same in every cell of every table and for every seed, so differences between cells are paired.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from advdetect.errors import AdvdetectError

_BITS = 53
# P(weight <= k) in units of 2**-53; beyond k = 17 the remaining probability is below that unit.
_CUMULATIVE = np.array(
    [
        round(2**_BITS * sum(math.exp(-1) / math.factorial(j) for j in range(k + 1)))
        for k in range(18)
    ],
    dtype=np.uint64,
)
_SEED_DRAWS_KEY = 2**64 - 1  # no image has this index


def poisson_weights(index: ArrayLike, replicates: int, seed: int) -> NDArray[np.uint8]:
    """Draw the bootstrap weights of source images.

    The weights of an image depend on ``seed`` and its index only, never on which other images are
    there. They are made from the raw output of Philox, which NumPy keeps fixed between versions.

    Args:
        index: (n,) source image indices, integers in [0, 2**64 - 1).
        replicates: Number B of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        (B, n) weights, independent Poisson(1) counts; in memory, an image's weights are contiguous.
    """
    if replicates < 1:
        raise AdvdetectError(f"The bootstrap needs at least 1 replicate, not {replicates}.")
    keys = np.asarray(index)
    weights = np.empty((len(keys), replicates), dtype=np.uint8)
    for row, key in zip(weights, keys.tolist(), strict=True):
        uniform = _raw(seed, key, replicates) >> np.uint64(64 - _BITS)
        row[:] = np.searchsorted(_CUMULATIVE, uniform, side="right")
    return weights.T


def seed_weights(n_seeds: int, replicates: int, seed: int) -> NDArray[np.float64]:
    """Draw how often each seed is used in each replicate of the mean over seeds.

    Args:
        n_seeds: Number S of seeds, at least 1; they are drawn S times with replacement.
        replicates: Number B of bootstrap replicates.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        (B, S) shares; each row sums to 1.
    """
    raw = _raw(seed, _SEED_DRAWS_KEY, replicates * n_seeds).reshape(replicates, n_seeds)
    draws = raw % np.uint64(n_seeds)
    return (draws[:, :, None] == np.arange(n_seeds, dtype=np.uint64)).mean(axis=1)


def mean_of_seeds(replicates: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Average replicates over the seeds of the run, drawn with replacement in each replicate.

    Args:
        replicates: (S, M, B) replicated values of M statistics for each of S seeds.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        (M, B) replicates of the means; NaN where any seed has none.
    """
    n_seeds, _, n_replicates = replicates.shape
    return np.einsum("bs,smb->mb", seed_weights(n_seeds, n_replicates, seed), replicates)


def percentile_interval(
    replicates: NDArray[np.float64], level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the percentile interval over the last axis.

    Args:
        replicates: (M, B) replicated values of M statistics. A replicate without weight on either
            class has no value: it is NaN in all statistics and left out.
        level: Coverage in (0, 1).

    Returns:
        (M,) lower and (M,) upper limits, NaN where no replicate has a value.
    """
    valid = replicates[:, ~np.isnan(replicates).any(axis=0)]
    if valid.shape[1] == 0:
        nothing = np.full(len(replicates), np.nan)
        return nothing, nothing
    low, high = np.quantile(valid, [(1 - level) / 2, (1 + level) / 2], axis=1)
    return low, high


def _raw(seed: int, key: int, n: int) -> NDArray[np.uint64]:
    return np.random.Philox(key=np.array([seed, key], dtype=np.uint64)).random_raw(n)
