"""Gaussian naive Bayes (Zhao et al. 2019, section 4)."""

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


class NaiveBayes(GaussianNB):
    """Score by the log-odds, since probabilities near one are ties.

    A column without any variance, from which density is no number, has that of the scaled ones.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Self:
        """Fit as scikit-learn does."""
        super().fit(*args, **kwargs)
        self.var_[self.var_ == 0] = 1
        return self

    def decision_function(self, features: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Return the (N,) log-odds of the second class."""
        joint = self.predict_joint_log_proba(features)
        return joint[:, 1] - joint[:, 0]


def naive_bayes(*, seed: int, variance_smoothing: float) -> Pipeline:
    """Make the detector; the scaler is fitted with it, on the training part only."""
    return make_pipeline(StandardScaler(), NaiveBayes(var_smoothing=variance_smoothing))
