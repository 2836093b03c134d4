"""A detector as the protocol handles it: a factory of scikit-learn estimators."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from numpy.typing import NDArray

from advdetect.detectors.controls import LABEL_COLUMN
from advdetect.detectors.images import Rows
from advdetect.errors import AdvdetectError, explain_failure


@dataclass(frozen=True)
class Detector:
    """A named factory of estimators.

    Attributes:
        make: Called without arguments, returns an unfitted scikit-learn estimator.
        sees_labels: Whether the estimator is handed the true label as a column (a control).
        unsupervised: Whether it is fitted on clean images only.
    """

    make: Callable[[], Any]
    sees_labels: bool = False
    unsupervised: bool = False

    def fit(self, rows: Rows, columns: Collection[str]) -> Any:
        """Return an estimator that is fitted on images, whose values must be finite."""
        estimator = self.make()
        with sklearn.config_context(assume_finite=True):
            estimator.fit(self._table(rows, columns), rows.adversarial)
        return estimator

    def scores(self, estimator: Any, rows: Rows, columns: Collection[str]) -> NDArray[np.float64]:
        """Return the (n,) scores of images, higher for adversarial; their values must be finite."""
        with sklearn.config_context(assume_finite=True):
            return decision_scores(estimator, self._table(rows, columns))

    def _table(self, rows: Rows, columns: Collection[str]) -> pd.DataFrame:
        table = rows.table(columns)
        return table.assign(**{LABEL_COLUMN: rows.adversarial}) if self.sees_labels else table


def decision_scores(estimator: Any, features: pd.DataFrame) -> NDArray[np.float64]:
    """Return the (n,) scores of a fitted estimator, higher for adversarial."""
    if hasattr(estimator, "decision_function"):
        return np.asarray(estimator.decision_function(features), dtype=np.float64)
    return estimator.predict_proba(features)[:, 1]


def checked(name: str, trained_on: str, call: Callable[[], NDArray]) -> NDArray:
    """Return the scores that a call gives.

    Raises:
        AdvdetectError: The detector cannot score, or a score is not a number.
    """
    with explain_failure(f"The detector {name}, trained on {trained_on},"):
        scores = call()
    if np.isnan(scores).any():
        raise AdvdetectError(
            f"The detector {name}, trained on {trained_on}, returned scores that are not a "
            "number: look at the detector or remove it."
        )
    return scores
