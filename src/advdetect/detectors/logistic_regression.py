"""Logistic regression on standardised features (Feinman et al. 2017 combine KD and BU so)."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def logistic_regression(*, seed: int, inverse_regularization: float) -> Pipeline:
    """Make the detector; the scaler is fitted with it, on the training part only."""
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=inverse_regularization, max_iter=1000, random_state=seed),
    )
