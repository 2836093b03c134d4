"""The probability that the model leaves to all other classes: the baseline of every detector."""

import math

import torch
from torch import Tensor, nn

from advdetect.randomness import SampleGenerator


@torch.no_grad()
def max_probability(
    model: nn.Module, images: Tensor, *, generator: SampleGenerator
) -> dict[str, Tensor]:
    """Return log10(1 − p_y), y the predicted class (Hendrycks and Gimpel 2017, section 2).

    Computed in float64 as logsumexp_{c≠y} z_c − logsumexp_c z_c, so it neither cancels nor
    overflows where p_y rounds to one. The trace of the weight Fisher matrix ranks images almost as
    this number does, so it must stand beside it.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: Not used; the feature is deterministic.

    Returns:
        Column ``log10_one_minus_max_probability``: (N,) float64 on the CPU, at most 0.
    """
    logits = model(images).cpu().double()
    others = logits.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    log_rest = others.logsumexp(dim=1) - logits.logsumexp(dim=1)
    return {"log10_one_minus_max_probability": log_rest / math.log(10)}
