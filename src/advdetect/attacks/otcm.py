"""One-step target class method (Kurakin, Goodfellow and Bengio 2017), with an L2 step."""

from typing import Literal

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, loss_gradient
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


def otcm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    target: Literal["random", "least_likely"] = "random",
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
        target: "random" draws t uniformly from the wrong classes; "least_likely" takes the wrong
            class of the smallest probability.

    Returns:
        The perturbed images, where the attack failed too, and the targets.

    Raises:
        AdvdetectError: The target is neither of the two.
    """
    with torch.no_grad():
        logits = model(images)
    if target == "random":
        targets = random_wrong_class(labels, logits.shape[1], generator)
    elif target == "least_likely":
        targets = logits.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
    else:
        raise AdvdetectError(f"The target of otcm must be random or least_likely, not {target!r}.")

    def direction(current: Tensor, _previous: Tensor) -> Tensor:
        return -loss_gradient(model, current, targets)

    return ascend(model, images, labels, direction, epsilon=epsilon, norm="l2", target=targets)


def random_wrong_class(labels: Tensor, classes: int, generator: SampleGenerator) -> Tensor:
    """Draw for each image a class that is not its label, all equally likely.

    Args:
        labels: (N,) int64 in [0, classes).
        classes: Number of classes, at least 2.
        generator: One stream per image.

    Returns:
        (N,) int64, on the device of the labels.
    """
    shift = 1 + generator.integers(classes - 1).to(labels.device)
    return (labels + shift) % classes
