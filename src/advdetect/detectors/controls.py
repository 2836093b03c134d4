"""Control detectors: they bound every metric, and show at once when the evaluation is wrong."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin

LABEL_COLUMN = "is_adversarial"


class RandomScores(ClassifierMixin, BaseEstimator):
    """Uniform random scores: AUROC 0.5 up to chance.

    Args:
        seed: Seed of the scores.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def fit(self, features: pd.DataFrame, is_adversarial: np.ndarray) -> "RandomScores":
        """Remember the classes."""
        self.classes_ = np.unique(is_adversarial)
        return self

    def decision_function(self, features: pd.DataFrame) -> np.ndarray:
        """Return (N,) random numbers in [0, 1)."""
        return np.random.default_rng(self.seed).random(len(features))


class TrueLabels(ClassifierMixin, BaseEstimator):
    """The true labels as scores: AUROC 1. Its specification has ``_sees_labels_: true``."""

    def fit(self, features: pd.DataFrame, is_adversarial: np.ndarray) -> "TrueLabels":
        """Remember the classes."""
        self.classes_ = np.unique(is_adversarial)
        return self

    def decision_function(self, features: pd.DataFrame) -> np.ndarray:
        """Return the (N,) true labels, which the detection step adds as a column."""
        return features[LABEL_COLUMN].to_numpy(dtype=float)


def random_scores(*, seed: int) -> RandomScores:
    """Make the control detector whose AUROC must be 0.5 up to chance."""
    return RandomScores(seed)


def true_labels(*, seed: int) -> TrueLabels:
    """Make the control detector whose AUROC must be 1."""
    return TrueLabels()
