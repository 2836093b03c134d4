"""What counts of classes under noise say: PREDICT and CERTIFY of Cohen et al. 2019, section 3.2.

The smoothed classifier g(x) is the class that a base classifier f gives x + N(0, σ²) most often.
Its answers are read off counts of classes, of which these functions take one row per image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from advdetect.errors import AdvdetectError

ABSTAIN = -1


@dataclass(frozen=True)
class Certificates:
    """What is certified of N images.

    Attributes:
        classes: (N,) int64, the class of g; `ABSTAIN` where there is no certificate.
        lower_bound: (N,) float64, of the probability of the class that was selected, p_A.
        radius: (N,) float64, L2 distance within which g does not change, but for a probability of
            α; 0 where there is no certificate.
    """

    classes: NDArray[np.int64]
    lower_bound: NDArray[np.float64]
    radius: NDArray[np.float64]


def predict(counts: ArrayLike, alpha: float) -> NDArray[np.int64]:
    """Return the class that g gives each image, or abstain: PREDICT.

    The class is wrong with a probability of at most α. It is the most frequent one, unless a
    two-sided binomial test cannot tell it from the second: at p = 1/2, of the draws of both.

    Args:
        counts: (N, C) draws of each class, C at least 2.
        alpha: Level of the test, in (0, 1).

    Returns:
        (N,) classes; `ABSTAIN` where the test does not reject.

    Raises:
        AdvdetectError: α is outside its range.
    """
    counts = _checked(counts, alpha)
    second, first = np.partition(counts, -2, axis=1)[:, -2:].T
    classes = counts.argmax(axis=1)
    return np.where(p_value(first, first + second) <= alpha, classes, ABSTAIN)


def certify(
    selection: ArrayLike, estimation: ArrayLike, alpha: float, sigma: float
) -> Certificates:
    """Return the class of g at each image and the radius within which it does not change: CERTIFY.

    The class is the most frequent one of some draws; fresh ones bound its probability p_A. The
    radius is σ Φ⁻¹(p_A) (Theorem 1, with 1 − p_A for the bound of the second class).

    Args:
        selection: (N, C) draws of each class that select it.
        estimation: (N, C) draws of each class that estimate its probability, independent of those.
        alpha: Probability that a certificate is wrong, in (0, 1).
        sigma: Standard deviation of the noise, greater than 0.

    Raises:
        AdvdetectError: α or σ is outside its range.
    """
    if not sigma > 0:
        raise AdvdetectError(f"The sigma of the noise must be greater than 0, not {sigma}.")
    selection, estimation = _checked(selection, alpha), _checked(estimation, alpha)
    classes = selection.argmax(axis=1)
    hits = np.take_along_axis(estimation, classes[:, None], axis=1)[:, 0]
    bound = lower_bound(hits, estimation.sum(axis=1), alpha)
    certain = bound > 0.5
    # Φ⁻¹ of one half where there is no certificate, which is a radius of nothing.
    radius = sigma * special.ndtri(np.where(certain, bound, 0.5))
    return Certificates(np.where(certain, classes, ABSTAIN), bound, radius)


def lower_bound(hits: ArrayLike, draws: ArrayLike, alpha: float) -> NDArray[np.float64]:
    """Return the one-sided bound of Clopper and Pearson 1934 at a confidence of 1 − α.

    It is the p at which ``hits`` or more of ``draws`` have a probability of α, a quantile of the
    beta distribution, and below the true p but for a probability of at most α.

    Args:
        hits: How many draws were hits, 0 to the number of draws.
        draws: Number of draws; both may be arrays.
        alpha: In (0, 1).

    Returns:
        The bounds, 0 where there is no hit.
    """
    hits, draws = np.asarray(hits, np.float64), np.asarray(draws, np.float64)
    some = hits > 0  # of none, the beta distribution has no density
    bound = special.betaincinv(np.where(some, hits, 1), np.where(some, draws - hits + 1, 1), alpha)
    return np.where(some, bound, 0.0)


def p_value(hits: ArrayLike, draws: ArrayLike) -> NDArray[np.float64]:
    """Return the p values of two-sided binomial tests at p = 1/2.

    Args:
        hits: How many draws were hits, at least half of them.
        draws: Number of draws; both may be arrays.
    """
    hits, draws = np.asarray(hits, np.float64), np.asarray(draws, np.float64)
    some = hits > 0
    # The upper tail, an incomplete beta function, twice: at 1/2 the lower one is the same.
    tail = special.betainc(np.where(some, hits, 1), np.where(some, draws - hits + 1, 1), 0.5)
    return np.where(some, np.minimum(2 * tail, 1), 1.0)


def largest_radius(draws: int, alpha: float, sigma: float) -> float:
    """Return the radius that is certified where all draws agree, σ Φ⁻¹(α^(1/n)): no other is more.

    Args:
        draws: Number n of draws that estimate the probability, at least 1.
        alpha: In (0, 1).
        sigma: Standard deviation of the noise.

    Returns:
        The radius; 0 where that many draws certify nothing.
    """
    return max(0.0, float(sigma * special.ndtri(alpha ** (1 / draws))))


def _checked(counts: ArrayLike, alpha: float) -> NDArray[np.int64]:
    if not 0 < alpha < 1:
        raise AdvdetectError(f"The alpha of certificates must be in (0, 1), not {alpha}.")
    return np.asarray(counts, np.int64)
