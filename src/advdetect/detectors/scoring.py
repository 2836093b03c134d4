"""Scoring all attacks with fitted detectors."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.detectors.estimator import Detector, checked
from advdetect.detectors.images import (
    AttackedImages,
    Rows,
    attacked_rows,
    clean_rows,
    concatenate,
    without_values,
)
from advdetect.files.detector import FittedDetector
from advdetect.files.scores import ScorePart
from advdetect.protocol import BITS, MAIN_FORM, POSITIVES, UNCHANGED


def score_attacks(
    clean: pd.DataFrame,
    attacks: Mapping[str, AttackedImages],
    detectors: Mapping[str, Detector],
    fitted: Iterable[FittedDetector],
    testing: Collection[int],
    control: AttackedImages | None = None,
    bits: Collection[str] = tuple(BITS),
) -> Iterator[ScorePart]:
    """Score the testing part of the attacks with each fitted detector, one after the other.

    A detector that was fitted on one attack or on clean images scores all attacks, in the form that
    it was fitted on or in all forms; one that was fitted on all attacks but one scores that one.
    The control is scored by those that were fitted on it or on clean images.

    Args:
        clean: Features of the clean images, indexed by source image.
        attacks: The attacks' images.
        detectors: The detectors.
        fitted: The fitted ones: those fitted on clean images first, then by form, as
            `fitting.fit_detectors` yields them.
        testing: Source images to score; disjoint from those that were fitted on.
        control: As it was given to `fitting.fit_detectors`.
        bits: As they were given to it.

    Raises:
        AdvdetectError: A detector returned a score that is not a number.
    """
    columns = list(clean.columns)
    remaining = iter(fitted)
    of_clean = []
    following = next(remaining, None)
    while following and not following.bits:
        of_clean.append(following)
        following = next(remaining, None)
    for form in itertools.product(bits, POSITIVES):
        tested = _Tested.make(clean, attacks, testing, *form)
        unchanged = None
        if control and form == MAIN_FORM:
            unchanged = _Tested.make(clean, {UNCHANGED: control}, testing, *form)
        while following and (following.bits, following.positives) == form:
            images = tested.only(following.left_out) if following.left_out else tested
            if unchanged and following.trained_on == UNCHANGED:
                images = unchanged
            yield _score(following, detectors, images, columns, *form)
            following = next(remaining, None)
        for detector in of_clean:
            for images in filter(None, (tested, unchanged)):
                yield _score(detector, detectors, images, columns, *form)


@dataclass(frozen=True)
class _Tested:
    """Images to score: the clean ones, then those of one attack after the other.

    Attributes:
        names: The attacks.
        rows: The images.
        attack: (n,) positions in ``names``, −1 for a clean image.
        reasons: By attack why its images have no score, where they have none.
    """

    names: tuple[str, ...]
    rows: Rows
    attack: NDArray[np.int16]
    reasons: Mapping[str, str]

    @classmethod
    def make(
        cls,
        clean: pd.DataFrame,
        attacks: Mapping[str, AttackedImages],
        testing: Collection[int],
        bits: str,
        positives: str,
    ) -> "_Tested":
        """Return the images of all attacks in one form."""
        own = clean_rows(clean, testing)
        parts = [own]
        for each in attacks.values():
            rows = attacked_rows(each, testing, bits, positives)
            parts.append(rows if len(rows) else own)  # one that changed nothing has its cells, too
        positions = np.arange(-1, len(attacks), dtype=np.int16)
        attack = np.repeat(positions, [len(part) for part in parts])
        reasons = {name: without_values(each, bits) for name, each in attacks.items()}
        reasons = {name: reason for name, reason in reasons.items() if reason}
        return cls(tuple(attacks), concatenate(parts), attack, reasons)

    def only(self, name: str) -> "_Tested":
        """Return the clean images and those of one attack."""
        chosen = np.isin(self.attack, [-1, self.names.index(name)])
        return _Tested(self.names, self.rows.where(chosen), self.attack[chosen], self.reasons)


def _score(
    fitted: FittedDetector,
    detectors: Mapping[str, Detector],
    tested: _Tested,
    columns: Collection[str],
    bits: str,
    positives: str,
) -> ScorePart:
    name, rows = fitted.detector, tested.rows
    scores = np.full(len(rows), np.nan)
    reasons = dict.fromkeys(tested.names, fitted.reason) if fitted.reason else tested.reasons
    if not fitted.reason:
        detector = detectors[name]
        scored = ~np.isin(tested.attack, [tested.names.index(each) for each in reasons])
        images = rows if scored.all() else rows.where(scored)
        if len(images):
            scores[scored] = checked(
                name,
                fitted.trained_on,
                lambda: detector.scores(fitted.estimator, images, columns),
            )
    return ScorePart(
        detector=name,
        trained_on=fitted.trained_on,
        bits=bits,
        positives=positives,
        attacks=tested.names,
        attack=tested.attack,
        index=rows.index,
        kind=rows.kind,
        score=scores,
        reasons=reasons,
    )
