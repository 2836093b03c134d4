"""Isolation forest (Liu et al. 2008), fitted on clean images."""

import warnings

import numpy as np
import pandas as pd
from sklearn.ensemble import IsolationForest

from advdetect.detectors.novelty import Novelty


class _Forest(IsolationForest):
    """An isolation forest that takes all images where there are no ``max_samples`` of them."""

    def fit(self, features: pd.DataFrame, y: np.ndarray | None = None) -> "_Forest":
        """Fit without the warning that scikit-learn gives in that case."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "max_samples .* is greater than", UserWarning)
            return super().fit(features, y)


def isolation_forest(*, seed: int, trees: int, max_samples: int) -> Novelty:
    """Make the detector; ``max_samples`` images at most are drawn for each tree."""
    return Novelty(_Forest(n_estimators=trees, max_samples=max_samples, random_state=seed))
