"""The probability that the model leaves to all other classes: the baseline of every detector."""

import math

import torch
from torch import Tensor, nn

from advdetect.features.activations import LOGITS, Activations
from advdetect.randomness import SampleGenerator


def max_probability(
    model: nn.Module, images: Tensor, *, generator: SampleGenerator, activations: Activations
) -> dict[str, Tensor]:
    """Return log10(1 − p_y), y the predicted class (Hendrycks and Gimpel 2017, section 2).

    Computed in float64 as logsumexp_{c≠y} z_c − logsumexp_c z_c, so it neither cancels nor
    overflows where p_y rounds to one. The trace of the weight Fisher matrix ranks images almost as
    this number does, so it must stand beside it.

    Args:
        model: Not used.
        images: Not used.
        generator: Not used; the feature is deterministic.
        activations: The (N, classes) logits, of two classes or more.

    Returns:
        Column ``log10_one_minus_max_probability``: (N,) float64, at most 0.
    """
    logits = activations[LOGITS].double()
    others = logits.scatter(1, logits.argmax(dim=1, keepdim=True), -torch.inf)
    log_rest = others.logsumexp(dim=1) - logits.logsumexp(dim=1)
    return {"log10_one_minus_max_probability": log_rest / math.log(10)}
