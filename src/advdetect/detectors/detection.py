"""Fitting every detector on every attack and scoring every other: the cross-attack protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from advdetect.detectors.controls import LABEL_COLUMN
from advdetect.errors import AdvdetectError

BITS = {"float32": "", "8bit": "_8bit"}  # name of the form → suffix of its kinds and columns
POSITIVES = ("successful", "all")


@dataclass(frozen=True)
class AttackedImages:
    """One attack's images as a detector sees them.

    Attributes:
        features: Rows indexed by source image, columns: the features; one table per kind
            (``noisy``, ``adversarial``, ``noisy_8bit``, ``adversarial_8bit``).
        success: Boolean columns ``float32`` and ``8bit``, rows indexed by source image.
    """

    features: Mapping[str, pd.DataFrame]
    success: pd.DataFrame


@dataclass(frozen=True)
class Detector:
    """A named factory of estimators.

    Attributes:
        make: Called without arguments, returns an unfitted scikit-learn estimator.
        sees_labels: Whether the estimator is handed the true label as a column (a control).
    """

    make: Callable[[], Any]
    sees_labels: bool


def split_sources(index: np.ndarray, train_fraction: float, seed: int) -> tuple[set, set]:
    """Split source images into a fitting and a testing part; their twins go where they go.

    Raises:
        AdvdetectError: One part would be empty.
    """
    try:
        fitting, testing = train_test_split(
            np.sort(index), train_size=train_fraction, random_state=seed % 2**32
        )
    except ValueError as error:
        raise AdvdetectError(
            f"{len(index)} clean-correct images cannot be split with evaluation.train_fraction="
            f"{train_fraction} ({error}): use more test images."
        ) from error
    return set(fitting.tolist()), set(testing.tolist())


def cross_attack_scores(
    clean: pd.DataFrame,
    attacks: Mapping[str, AttackedImages],
    detectors: Mapping[str, Detector],
    fitting: set,
    testing: set,
) -> pd.DataFrame:
    """Fit each detector on each attack's fitting part; score the testing part of all attacks.

    Negatives are the clean and the noisy images, positives the adversarial ones: the successful
    only (Zhao et al. 2019), or all (Martin & Elster 2019). Rounded images are detected by a
    detector that was fitted on rounded images.

    Args:
        clean: Features of the clean images, indexed by source image.
        attacks: The attacks' images.
        detectors: The detectors.
        fitting: Source images to fit on.
        testing: Source images to score; disjoint from ``fitting``.

    Returns:
        One row per (detector, trained_on, tested_on, bits, positives, index, kind) with a score.

    Raises:
        AdvdetectError: An attack has no positive image to fit a detector on.
    """
    parts = []
    for bits in BITS:
        for positives in POSITIVES:
            test_rows = _test_rows(clean, attacks, testing, bits, positives)
            columns = test_rows[clean.columns]
            labels = (test_rows["kind"] == "adversarial").to_numpy()
            for trained_on, attack in attacks.items():
                fit_rows = _rows(clean, trained_on, attack, fitting, bits, positives)
                fit_labels = (fit_rows["kind"] == "adversarial").to_numpy()
                if not fit_labels.any():
                    raise AdvdetectError(
                        f"The attack {trained_on} has no successful adversarial image ({bits}) to "
                        f"fit a detector on: make it stronger (a larger epsilon) or remove it."
                    )
                for name, detector in detectors.items():
                    estimator = detector.make()
                    fit_features, test_features = fit_rows[clean.columns], columns
                    if detector.sees_labels:
                        fit_features = fit_features.assign(**{LABEL_COLUMN: fit_labels})
                        test_features = test_features.assign(**{LABEL_COLUMN: labels})
                    estimator.fit(fit_features, fit_labels)
                    parts.append(
                        test_rows[["tested_on", "index", "kind"]].assign(
                            detector=name,
                            trained_on=trained_on,
                            bits=bits,
                            positives=positives,
                            score=decision_scores(estimator, test_features),
                        )
                    )
    scores = pd.concat(parts, ignore_index=True)
    names = ["detector", "trained_on", "tested_on", "bits", "positives", "kind"]
    return scores.astype(dict.fromkeys(names, "category"))[[*names[:5], "index", "kind", "score"]]


def decision_scores(estimator: Any, features: pd.DataFrame) -> np.ndarray:
    """Return the (N,) scores of a fitted estimator, higher for adversarial."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(features)
    return estimator.predict_proba(features)[:, 1]


def _test_rows(
    clean: pd.DataFrame,
    attacks: Mapping[str, AttackedImages],
    testing: set,
    bits: str,
    positives: str,
) -> pd.DataFrame:
    rows = [
        _rows(clean, name, attack, testing, bits, positives) for name, attack in attacks.items()
    ]
    return pd.concat(rows, ignore_index=True)


def _rows(
    clean: pd.DataFrame,
    name: str,
    attack: AttackedImages,
    sources: set,
    bits: str,
    positives: str,
) -> pd.DataFrame:
    suffix = BITS[bits]
    adversarial = attack.features[f"adversarial{suffix}"]
    if positives == "successful":
        adversarial = adversarial[attack.success[bits].loc[adversarial.index]]
    kinds = {"clean": clean, "noisy": attack.features[f"noisy{suffix}"], "adversarial": adversarial}
    tables = [
        table[table.index.isin(sources)].assign(kind=kind).rename_axis("index").reset_index()
        for kind, table in kinds.items()
    ]
    return pd.concat(tables, ignore_index=True).assign(tested_on=name)
