"""Gaussian noise of one strength for all images, clipped to the box."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import misclassified
from advdetect.attacks.noise import noisy_twins
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def gaussian_noise(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    sigma: float,
) -> AttackResult:
    """Return clip(x + σ n), n ~ N(0, I): what Szegedy et al. 2014 set beside their adversarials.

    Clipping takes half of the noise of a black background, whose root mean square is then σ/√2.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image.
        sigma: σ, the standard deviation before clipping, greater than 0.

    Returns:
        The noisy images, where they are classified correctly too.
    """
    scale = torch.full((len(images),), sigma, dtype=torch.float64, device=images.device)
    noisy = noisy_twins(images, scale, generator)
    return AttackResult(
        adversarial=noisy,
        success=misclassified(model, noisy, labels),
        target=None,
        iterations=torch.ones_like(labels),
    )
