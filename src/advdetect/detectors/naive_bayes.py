"""Gaussian naive Bayes (Zhao et al. 2019, section 4)."""

import numpy as np
import pandas as pd
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


class NaiveBayes(GaussianNB):
    """Score by the log-odds, since probabilities near one are ties."""

    def decision_function(self, features: pd.DataFrame | np.ndarray) -> np.ndarray:
        """Return the (N,) log-odds of the second class."""
        joint = self.predict_joint_log_proba(features)
        return joint[:, 1] - joint[:, 0]


def naive_bayes(*, seed: int, variance_smoothing: float) -> Pipeline:
    """Make the detector; the scaler is fitted with it, on the training part only."""
    return make_pipeline(StandardScaler(), NaiveBayes(var_smoothing=variance_smoothing))
