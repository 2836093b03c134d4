"""Fast gradient method with an L2 step, as in Zhao et al. (2019)."""

from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, loss_gradient, steepest_step, up_the_loss
from advdetect.attacks.one_step import OneStep
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def fgm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
) -> AttackResult:
    """Perturb each image by x' = clip(x + ε ∇_x L / ‖∇_x L‖₂), L the cross entropy at y.

    The method of Goodfellow et al. 2015, section 4, for an L2 ball; Zhao et al. 2019, section 3.4.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        epsilon: L2 radius in pixel units of [0, 1], greater than 0. Clipping makes the
            perturbation shorter.

    Returns:
        The perturbed images, where the attack failed too.
    """
    return ascend(model, images, labels, up_the_loss(model, labels), epsilon=epsilon, norm="l2")


def fgm_direction(
    model: nn.Module, images: Tensor, labels: Tensor, *, generator: SampleGenerator
) -> OneStep:
    """Return the direction of `fgm`: ∇_x L / ‖∇_x L‖₂, zero where the gradient is.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the direction is deterministic.
    """
    return OneStep(steepest_step(loss_gradient(model, images, labels), "l2"))
