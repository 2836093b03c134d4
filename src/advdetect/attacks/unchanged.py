"""The control of features: clean images that take the path of an attack."""

import torch
from torch import Tensor, nn

from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def unchanged(
    model: nn.Module, images: Tensor, labels: Tensor, *, generator: SampleGenerator
) -> AttackResult:
    """Return the images as they are, none of which fools the model.

    Args:
        model: Not used.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes; not used.
        generator: Not used.
    """
    zeros = torch.zeros_like(labels)
    return AttackResult(
        adversarial=images,
        success=zeros.bool(),
        target=None,
        iterations=zeros,
    )
