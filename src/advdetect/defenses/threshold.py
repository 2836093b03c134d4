"""Thresholds that realise a false-positive rate, from clean images that nothing was fitted on."""

import math
from collections.abc import Mapping
from fractions import Fraction

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError


def thresholds(
    scores: Mapping[str, Tensor], false_positive_rates: Mapping[str, float]
) -> dict[str, float]:
    """Return the threshold of each detector; an image is flagged where its score is above it.

    The threshold is the (k + 1)-th largest of the n scores, k = ⌊(n + 1)α⌋ − 1: the split-conformal
    quantile (Vovk et al. 2005; Lei et al. 2018). A new clean image is above it with probability
    (k + 1) / (n + 1), or less where scores are tied: at most α, and short of it by less than
    1 / (n + 1). Of the held-out images themselves at most k are flagged.

    Args:
        scores: For each detector the (n,) scores of held-out clean images, higher for adversarial.
        false_positive_rates: α of each detector, in (0, 1).

    Returns:
        A threshold for each detector.

    Raises:
        AdvdetectError: A rate is impossible or missing, a score is not finite, or there are too few
            images: n must be at least 1 / α − 1.
    """
    return {
        name: _threshold(name, values, _rate(name, false_positive_rates))
        for name, values in scores.items()
    }


def _rate(name: str, rates: Mapping[str, float]) -> Fraction:
    rate = rates.get(name)
    if rate is None or not 0 < rate < 1:
        raise AdvdetectError(
            f"The false-positive rate of the detector {name} is {rate}: set one between 0 and 1."
        )
    # The decimal that was written: in binary, (n + 1)α could end just below a whole number.
    return Fraction(str(rate))


def _threshold(name: str, scores: Tensor, rate: Fraction) -> float:
    if not bool(scores.isfinite().all()):
        raise AdvdetectError(
            f"The detector {name} has scores of held-out images that are infinite or not a number: "
            "mend its feature."
        )
    flagged = math.floor((len(scores) + 1) * rate) - 1
    if flagged < 0:
        raise AdvdetectError(
            f"The detector {name} cannot have a false-positive rate of {float(rate):g} with "
            f"{len(scores)} held-out images: hold out at least {math.ceil(1 / rate) - 1}, or allow "
            "a larger rate."
        )
    return float(torch.sort(scores, descending=True).values[flagged])
