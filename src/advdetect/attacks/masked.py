"""What an attacker gets who differentiates the probabilities: a gradient that can be masked."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, input_gradient
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def probability_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the input gradient of each image's −log p_y, p = softmax(z) in the image's digits.

    Exactly zero once p_y rounds to one and the other probabilities to zero, as they do in float32
    where z_y is more than 104 above the others: there the model is masked, and not robust. The
    gradient of `gradient.loss_gradient` is that of the same loss without this rounding.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64.

    Returns:
        (N, C, H, W).
    """

    def loss(logits: Tensor) -> Tensor:
        probability = logits.softmax(1).gather(1, labels[:, None]).squeeze(1)
        # Without a limit the gradient is no number where p_y itself rounds to zero.
        return -probability.clamp_min(torch.finfo(images.dtype).tiny).log()

    return input_gradient(model, images, loss)


def fgsm_probabilities(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
) -> AttackResult:
    """Perturb each image by x' = clip(x + ε sign ∇_x(−log p_y)), p the model's probabilities.

    `fgsm.fgsm` as one computes it who has no logits: Papernot et al. 2016 attack distilled networks
    so. Where the gradient is zero the image stays as it is.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        epsilon: L-infinity radius in pixel units of [0, 1], greater than 0.

    Returns:
        The perturbed images, where the attack failed too.
    """

    def direction(current: Tensor, _previous: Tensor, lanes: Tensor) -> Tensor:
        return probability_gradient(model, current, labels[lanes])

    return ascend(model, images, labels, direction, epsilon=epsilon, norm="linf")
