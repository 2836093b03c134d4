"""Fitting every detector on every attack, and on all attacks but one: the cross-attack protocol."""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from advdetect.detectors.estimator import Detector, checked
from advdetect.detectors.images import (
    AttackedImages,
    Rows,
    attacked_rows,
    clean_rows,
    concatenate,
    without_values,
)
from advdetect.errors import explain_failure
from advdetect.files.detector import FittedDetector
from advdetect.protocol import (
    BITS,
    CLEAN,
    FALSE_POSITIVE_RATES,
    MAIN_FORM,
    OTHERS,
    POSITIVES,
    UNCHANGED,
)
from advdetect.requirements.detection import fitting_count


def split_sources(index: np.ndarray, train_fraction: float, seed: int) -> tuple[set, set]:
    """Split source images into a fitting and a testing part; their twins go where they go.

    Raises:
        AdvdetectError: One part would be empty.
    """
    fitting, testing = train_test_split(
        np.sort(index),
        train_size=fitting_count(len(index), train_fraction),
        random_state=seed % 2**32,
    )
    return set(fitting.tolist()), set(testing.tolist())


@dataclass(frozen=True)
class _Training:
    """Images to fit detectors on, and what they are called."""

    trained_on: str
    left_out: str
    rows: Rows | None
    reason: str = ""


def fit_detectors(
    clean: pd.DataFrame,
    attacks: Mapping[str, AttackedImages],
    detectors: Mapping[str, Detector],
    fitting: Collection[int],
    control: AttackedImages | None = None,
    bits: Collection[str] = tuple(BITS),
) -> Iterator[FittedDetector]:
    """Fit each detector on each training set, one after the other.

    An unsupervised detector is fitted on the clean images only. A supervised one is fitted on every
    attack; where there are at least two, it is also fitted on all but one (leave one attack out),
    in the form that the cross-attack tables show. The nearest of several attacks has their images,
    so that none of them counts as another one for it, nor it for them.

    An attack may have no success among the images to fit on, or a feature no value for its images.
    Detectors are then not fitted on it, and say why; all others are as if it were not there.

    Negatives are the clean and the noisy images, positives the adversarial ones: the successful
    only (Zhao et al. 2019), or all (Martin & Elster 2019). Rounded images are detected by a
    detector that was fitted on rounded images.

    Detectors that do not see labels are fitted on the control as on an attack, in the form that the
    cross-attack tables show; no other detector meets it.

    Args:
        clean: Features of the clean images, indexed by source image.
        attacks: The attacks' images.
        detectors: The detectors.
        fitting: Source images to fit on.
        control: The images of `protocol.UNCHANGED`, if there are any.
        bits: Names in `BITS`, the forms of the images.

    Raises:
        AdvdetectError: A detector cannot be fitted, or returned a score that is not a number.
    """
    columns = list(clean.columns)
    own = clean_rows(clean, fitting)
    for name, detector in detectors.items():
        if detector.unsupervised:
            yield _fit_on_clean(name, detector, own, attacks, fitting, columns, bits)
    supervised = {
        name: detector for name, detector in detectors.items() if not detector.unsupervised
    }
    for form in itertools.product(bits, POSITIVES) if supervised else ():
        sets = _training_sets(clean, attacks, fitting, *form)
        if control and form == MAIN_FORM:
            unchanged = _training_sets(clean, {UNCHANGED: control}, fitting, *form)
            sets = itertools.chain(sets, unchanged)
        for training in sets:
            for name, detector in supervised.items():
                if not (training.trained_on == UNCHANGED and detector.sees_labels):
                    yield _fit(name, detector, training, columns, *form)


def _training_sets(
    clean: pd.DataFrame,
    attacks: Mapping[str, AttackedImages],
    fitting: Collection[int],
    bits: str,
    positives: str,
) -> Iterator[_Training]:
    own = clean_rows(clean, fitting)
    usable: dict[str, Rows] = {}
    for name, attack in attacks.items():
        if reason := without_values(attack, bits):
            yield _Training(name, "", None, reason)
            continue
        usable[name] = attacked_rows(attack, fitting, bits, positives)
        yield _training(name, "", concatenate([own, usable[name]]), positives, bits)
    if (bits, positives) != MAIN_FORM or len(attacks) < 2:
        return
    origins = {name: attack.origins or {name} for name, attack in attacks.items()}
    for left_out in attacks:
        others = [rows for name, rows in usable.items() if not origins[name] & origins[left_out]]
        rows = concatenate([own, *others]) if others else None
        yield _training(OTHERS, left_out, rows, positives, bits)


def _training(
    trained_on: str, left_out: str, rows: Rows | None, positives: str, bits: str
) -> _Training:
    if rows is not None and rows.adversarial.any():
        return _Training(trained_on, left_out, rows)
    what = {"successful": "successful adversarial", "all": "adversarial"}[positives]
    form = " once rounded to 8 bits" if BITS[bits] else ""
    return _Training(trained_on, left_out, None, f"no {what} image to fit on{form}")


def _fit(
    name: str,
    detector: Detector,
    training: _Training,
    columns: Collection[str],
    bits: str,
    positives: str,
) -> FittedDetector:
    key = (name, training.trained_on, training.left_out, bits, positives)
    if training.rows is None:
        return FittedDetector(*key, estimator=None, reason=training.reason)
    rows = training.rows
    with explain_failure(f"The detector {name}, fitted on {training.trained_on},"):
        estimator = detector.fit(rows, columns)
    negatives = rows.where(~rows.adversarial)
    scores = checked(
        name, training.trained_on, lambda: detector.scores(estimator, negatives, columns)
    )
    return FittedDetector(*key, estimator=estimator, thresholds=_thresholds(scores, bits))


def _fit_on_clean(
    name: str,
    detector: Detector,
    own: Rows,
    attacks: Mapping[str, AttackedImages],
    fitting: Collection[int],
    columns: Collection[str],
    bits: Collection[str],
) -> FittedDetector:
    with explain_failure(f"The detector {name}, fitted on {CLEAN} images,"):
        estimator = detector.fit(own, columns)
    thresholds: dict[tuple[str, float], float] = {}
    for form in bits:
        noisy = [
            clean_rows(attack.features[f"noisy{BITS[form]}"], fitting)
            for attack in attacks.values()
            if not without_values(attack, form)
        ]
        negatives = concatenate([own, *noisy])
        scores = checked(name, CLEAN, lambda: detector.scores(estimator, negatives, columns))  # noqa: B023
        thresholds |= _thresholds(scores, form)
    return FittedDetector(name, CLEAN, "", "", "", estimator=estimator, thresholds=thresholds)


def _thresholds(scores: NDArray[np.float64], bits: str) -> dict[tuple[str, float], float]:
    """Return the lowest thresholds above which a share of negatives lies that is allowed."""
    descending = np.sort(scores)[::-1]
    return {
        (bits, rate): float(descending[math.floor(len(scores) * Fraction(str(rate)))])
        for rate in FALSE_POSITIVE_RATES
    }
