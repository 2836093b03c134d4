"""Detectors that know clean images only: the attack is not known beforehand."""

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


class Novelty(ClassifierMixin, BaseEstimator):
    """Score an image by how unlike the clean images it is.

    Its specification has ``_unsupervised_: true``: it is handed clean images only, so the scaler
    knows nothing else either.

    Args:
        normality: An estimator without labels whose ``score_samples`` is higher for what is like
            the samples that it was fitted on.
    """

    def __init__(self, normality: BaseEstimator) -> None:
        self.normality = normality

    def fit(self, features: pd.DataFrame, is_adversarial: np.ndarray) -> "Novelty":
        """Fit the scaler and the estimator on (N, d) features of clean images.

        Args:
            features: One row per image.
            is_adversarial: (N,) all False.

        Raises:
            ValueError: An image is adversarial.
        """
        if is_adversarial.any():
            raise ValueError("An unsupervised detector is fitted on clean images only.")
        self.classes_ = np.array([False, True])
        self.pipeline_: Pipeline = make_pipeline(StandardScaler(), self.normality).fit(features)
        return self

    def decision_function(self, features: pd.DataFrame) -> np.ndarray:
        """Return the (N,) scores, higher for adversarial."""
        return -self.pipeline_.score_samples(features)
