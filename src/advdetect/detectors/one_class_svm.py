"""One-class support vector machine (Schölkopf et al. 2001), fitted on clean images."""

from sklearn.svm import OneClassSVM

from advdetect.detectors.novelty import Novelty


def one_class_svm(*, seed: int, nu: float) -> Novelty:
    """Make the detector with a Gaussian kernel; at most a share of ``nu`` counts as outliers."""
    return Novelty(OneClassSVM(nu=nu))
