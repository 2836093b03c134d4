"""One-step target class method (Kurakin, Goodfellow and Bengio 2017), with an L2 step."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, loss_gradient, steepest_step
from advdetect.attacks.one_step import OneStep
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target, choose_target
from advdetect.randomness import SampleGenerator


def otcm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    target: Target = "random",
) -> AttackResult:
    """Perturb each image by x' = clip(x − ε ∇_x L(x, t) / ‖∇_x L(x, t)‖₂), t a wrong class.

    Kurakin et al. 2017, section 2, step along the sign of the gradient; Zhao et al. 2019,
    section 3.4, measure perturbations in L2, and so does this function. Any misclassification is a
    success, not only the class t.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for the random targets.
        epsilon: L2 radius in pixel units of [0, 1], greater than 0.
        target: How to choose t, see `choose_target`.

    Returns:
        The perturbed images, where the attack failed too, and the targets.

    Raises:
        AdvdetectError: The target is unknown.
    """
    with torch.no_grad():
        logits = model(images)
    targets = choose_target(target, logits, labels, generator)

    def direction(current: Tensor, _previous: Tensor, lanes: Tensor) -> Tensor:
        return -loss_gradient(model, current, targets[lanes])

    return ascend(model, images, labels, direction, epsilon=epsilon, norm="l2", target=targets)


def otcm_direction(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    target: Target = "random",
) -> OneStep:
    """Return the direction of `otcm`: −∇_x L(x, t) / ‖∇_x L(x, t)‖₂, zero where the gradient is.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for the random targets.
        target: How to choose t, see `choose_target`.

    Raises:
        AdvdetectError: The target is unknown.
    """
    with torch.no_grad():
        logits = model(images)
    targets = choose_target(target, logits, labels, generator)
    return OneStep(-steepest_step(loss_gradient(model, images, targets), "l2"), target=targets)
