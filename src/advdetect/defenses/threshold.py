"""Thresholds that realise a false-positive rate, from clean images that nothing was fitted on."""

from collections.abc import Mapping

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.requirements.held_out import flagged_count


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
        name: _threshold(
            name, values, flagged_count(name, false_positive_rates.get(name), len(values))
        )
        for name, values in scores.items()
    }


def _threshold(name: str, scores: Tensor, flagged: int) -> float:
    if not bool(scores.isfinite().all()):
        raise AdvdetectError(
            f"The detector {name} has scores of held-out images that are infinite or not a number: "
            "mend its feature."
        )
    return float(torch.sort(scores, descending=True).values[flagged])
