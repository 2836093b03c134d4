"""Gaussian naive Bayes (Zhao et al. 2019, section 4)."""

from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def naive_bayes(*, seed: int, variance_smoothing: float) -> Pipeline:
    """Make the detector; the scaler is fitted with it, on the training part only."""
    return make_pipeline(StandardScaler(), GaussianNB(var_smoothing=variance_smoothing))
