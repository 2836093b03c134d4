"""What auto-encoders and the defences that are made of them need."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.requirements.subsets import Images


def held_out_count(count: int, held_out: float) -> int:
    """Return how many training images are held out.

    Args:
        count: Number of images.
        held_out: Share to hold out, in (0, 1).

    Raises:
        AdvdetectError: The share is impossible, or leaves one part empty.
    """
    number = round(count * held_out) if 0 < held_out < 1 else 0
    if not 0 < number < count:
        raise AdvdetectError(
            f"held_out={held_out} of {count} training images cannot be held out: use more "
            "images or a share between 0 and 1 that leaves images on either side."
        )
    return number


def flagged_count(detector: str, false_positive_rate: float | None, held_out: int) -> int:
    """Return k, how many held-out images a threshold may flag: see `defenses.threshold`.

    Args:
        detector: Name of the detector, for the error.
        false_positive_rate: α, in (0, 1).
        held_out: Images n.

    Raises:
        AdvdetectError: The rate is impossible or missing, or needs more images: n must be at least
            1 / α − 1.
    """
    if false_positive_rate is None or not 0 < false_positive_rate < 1:
        raise AdvdetectError(
            f"The false-positive rate of the detector {detector} is {false_positive_rate}: set one "
            "between 0 and 1."
        )
    # The decimal that was written: in binary, (n + 1)α could end just below a whole number.
    rate = Fraction(str(false_positive_rate))
    flagged = math.floor((held_out + 1) * rate) - 1
    if flagged < 0:
        raise AdvdetectError(
            f"The detector {detector} cannot have a false-positive rate of {float(rate):g} with "
            f"{held_out} held-out images: hold out at least {math.ceil(1 / rate) - 1}, or allow "
            "a larger rate."
        )
    return flagged


def check_norms(norms: Sequence[float], count: int) -> None:
    """Refuse norms that are not one positive p for each of ``count`` auto-encoders."""
    if len(norms) != count or not all(norm > 0 for norm in norms):
        raise AdvdetectError(
            f"norms={list(norms)} for {count} auto-encoders: give one positive p for each of them."
        )


def check_number(number: int, count: int) -> None:
    """Refuse an auto-encoder that is none of 1 … ``count``."""
    if not 1 <= number <= count:
        raise AdvdetectError(
            f"There is no auto-encoder {number}: {count} are fitted; name one of them, "
            "counted from 1."
        )


def detector_name(detector: Mapping[str, Any]) -> str:
    """Return what a detector of a defence is called: ``feature.column``."""
    return f"{detector['feature']}.{detector['column']}"


def check_detectors(detectors: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a list of detectors that is empty or names one twice."""
    names = [detector_name(detector) for detector in detectors]
    for name in names:
        if names.count(name) > 1:
            raise AdvdetectError(f"detectors: {name} is listed twice; remove one.")
    if not names:
        raise AdvdetectError("detectors: the list is empty; name at least one.")


def magnet(
    images: Images,
    owner: Mapping[str, Any],
    *,
    autoencoders: Sequence[Any],
    norms: Sequence[float],
    held_out: float,
    **_: Any,
) -> None:
    """Check what `advdetect.features.magnet` needs."""
    check_norms(norms, len(autoencoders))
    if images.train is not None:
        held_out_count(images.train, held_out)


def mid(images: Images, owner: Mapping[str, Any], *, autoencoder: int, **_: Any) -> None:
    """Check what `advdetect.features.mid` needs of the auto-encoders of another feature."""
    if "autoencoders" in owner:
        check_number(autoencoder, len(owner["autoencoders"]))


def defense(
    images: Images,
    owner: Mapping[str, Any],
    *,
    detectors: Sequence[Mapping[str, Any]],
    reformer: int,
    **_: Any,
) -> None:
    """Check what `advdetect.defenses.defense` needs of the auto-encoders of a feature."""
    check_detectors(detectors)
    if "autoencoders" in owner:
        check_number(reformer, len(owner["autoencoders"]))
    if images.train is not None and "held_out" in owner:
        held_out = held_out_count(images.train, owner["held_out"])
        for detector in detectors:
            flagged_count(detector_name(detector), detector["false_positive_rate"], held_out)
