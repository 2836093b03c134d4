"""One Gaussian, fitted on clean images: the score is the negative log-likelihood."""

from sklearn.mixture import GaussianMixture

from advdetect.detectors.novelty import Novelty


def gaussian(*, seed: int, regularization: float) -> Novelty:
    """Make the detector; ``regularization`` is added to the variances of the scaled features."""
    return Novelty(GaussianMixture(reg_covar=regularization, random_state=seed))
