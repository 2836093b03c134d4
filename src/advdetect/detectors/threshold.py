"""A threshold on one score: nothing is learned but which value counts as adversarial."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin


class Threshold(ClassifierMixin, BaseEstimator):
    """Score an image by one feature column, in the direction that its paper expects.

    The direction is fixed and not learned, so an AUROC below one half stays visible.

    Args:
        column: The feature column.
        adversarial: ``high`` or ``low``: how adversarial images are expected to come out.
    """

    def __init__(self, column: str, adversarial: str) -> None:
        self.column = column
        self.adversarial = adversarial

    def fit(self, features: pd.DataFrame, is_adversarial: np.ndarray) -> "Threshold":
        """Remember the classes; there is nothing else to fit."""
        self.classes_ = np.unique(is_adversarial)
        return self

    def decision_function(self, features: pd.DataFrame) -> np.ndarray:
        """Return the (N,) scores, higher for adversarial."""
        values = features[self.column].to_numpy()
        return values if self.adversarial == "high" else -values


def threshold(*, seed: int, score: dict[str, str]) -> Threshold:
    """Make the detector; ``score`` is the feature's ``_score_`` (column, adversarial)."""
    return Threshold(**score)
