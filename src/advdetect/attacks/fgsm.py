"""Fast gradient sign method (Goodfellow, Shlens and Szegedy 2015)."""

from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, loss_gradient, steepest_step, up_the_loss
from advdetect.attacks.one_step import OneStep
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
) -> AttackResult:
    """Perturb each image by x' = clip(x + ε sign ∇_x L(x, y)), L the cross entropy.

    Goodfellow et al. 2015, section 4.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        epsilon: L-infinity radius in pixel units of [0, 1], greater than 0.

    Returns:
        The perturbed images, where the attack failed too.
    """
    return ascend(model, images, labels, up_the_loss(model, labels), epsilon=epsilon, norm="linf")


def fgsm_direction(
    model: nn.Module, images: Tensor, labels: Tensor, *, generator: SampleGenerator
) -> OneStep:
    """Return the direction of `fgsm`: sign ∇_x L.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the direction is deterministic.
    """
    return OneStep(steepest_step(loss_gradient(model, images, labels), "linf"))
