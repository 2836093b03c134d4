"""Fitting every detector on every attack and scoring every other: the cross-attack protocol."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from advdetect.detectors.controls import LABEL_COLUMN
from advdetect.errors import AdvdetectError
from advdetect.protocol import BITS, CLEAN, MAIN_FORM, OTHERS, POSITIVES


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
        unsupervised: Whether it is fitted on clean images only.
    """

    make: Callable[[], Any]
    sees_labels: bool = False
    unsupervised: bool = False


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
    """Fit each detector on each training set's fitting part; score the testing part of attacks.

    A supervised detector is fitted on every attack and scores all of them; where there are at least
    two, it is also fitted on all but one and scores that one (leave one attack out), in the form
    that the cross-attack tables show. An unsupervised detector is fitted on the clean images only
    and scores all attacks.

    Rounding may undo every success of an attack that stops at the boundary. A supervised detector
    then has no positive image to be fitted on, and what it would score has no score (NaN).

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
        One row per (detector, trained_on, tested_on, bits, positives, index, kind) with a score;
        trained_on is the name of an attack, `OTHERS` or `CLEAN`.

    Raises:
        AdvdetectError: An attack has no unrounded positive image to fit a detector on, or a
            detector returned a score that is not a number.
    """
    parts = []
    for bits, positives in itertools.product(BITS, POSITIVES):
        fit, test = (
            {
                name: _rows(clean, name, attack, sources, bits, positives)
                for name, attack in attacks.items()
            }
            for sources in (fitting, testing)
        )
        if not BITS[bits]:  # as the attack made them
            _check_positives(fit)
        main = (bits, positives) == MAIN_FORM
        for training in _training_sets(fit, test, leave_one_out=main):
            for name, detector in detectors.items():
                if detector.unsupervised == (training.name == CLEAN):
                    scores = _fit_and_score(name, detector, training, clean.columns)
                    parts.append(scores.assign(bits=bits, positives=positives))
    scores = pd.concat(parts, ignore_index=True)
    names = ["detector", "trained_on", "tested_on", "bits", "positives", "kind"]
    return scores.astype(dict.fromkeys(names, "category"))[[*names[:5], "index", "kind", "score"]]


@dataclass(frozen=True)
class _Training:
    """Rows to fit a detector on, what they are called, and the rows that it scores."""

    name: str
    fit: pd.DataFrame
    test: pd.DataFrame


def _training_sets(
    fit: Mapping[str, pd.DataFrame], test: Mapping[str, pd.DataFrame], leave_one_out: bool
) -> Iterator[_Training]:
    every = pd.concat(test.values(), ignore_index=True)
    for name, rows in fit.items():
        yield _Training(name, rows, every)
    for left_out in fit if leave_one_out and len(fit) > 1 else ():
        others = pd.concat(rows for name, rows in fit.items() if name != left_out)
        # The clean images are those of every attack, and count once.
        again = (others["kind"] == "clean") & others.duplicated(["index", "kind"])
        yield _Training(OTHERS, others[~again], test[left_out])
    any_attack = next(iter(fit.values()))
    yield _Training(CLEAN, any_attack[any_attack["kind"] == "clean"], every)


def _fit_and_score(
    name: str, detector: Detector, training: _Training, columns: pd.Index
) -> pd.DataFrame:
    fit, test = training.fit[columns], training.test[columns]
    labels, true_labels = (
        (rows["kind"] == "adversarial").to_numpy() for rows in (training.fit, training.test)
    )
    keys = training.test[["tested_on", "index", "kind"]].assign(
        detector=name, trained_on=training.name
    )
    if not (detector.unsupervised or labels.any()):
        return keys.assign(score=np.nan)
    if detector.sees_labels:
        fit = fit.assign(**{LABEL_COLUMN: labels})
        test = test.assign(**{LABEL_COLUMN: true_labels})
    estimator = detector.make()
    estimator.fit(fit, labels)
    scores = decision_scores(estimator, test)
    if np.isnan(scores).any():
        raise AdvdetectError(
            f"The detector {name}, trained on {training.name}, returned scores that are not a "
            "number: look at the detector or remove it."
        )
    return keys.assign(score=scores)


def _check_positives(fit: Mapping[str, pd.DataFrame]) -> None:
    for name, rows in fit.items():
        if not (rows["kind"] == "adversarial").any():
            raise AdvdetectError(
                f"The attack {name} has no successful adversarial image to fit a detector on: make "
                f"it stronger (a larger epsilon) or remove it."
            )


def decision_scores(estimator: Any, features: pd.DataFrame) -> np.ndarray:
    """Return the (N,) scores of a fitted estimator, higher for adversarial."""
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(features)
    return estimator.predict_proba(features)[:, 1]


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
