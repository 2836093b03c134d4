"""Basic iterative method (Kurakin, Goodfellow and Bengio 2017)."""

from torch import Tensor, nn

from advdetect.attacks.gradient import Norm, ascend, up_the_loss
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 10,
    step_size: float | None = None,
    stop_at_success: bool = False,
) -> AttackResult:
    """Take several steps of fgsm (L∞) or fgm (L2), each projected on the ε ball and the box.

    Kurakin et al. 2017, section 2.2; Zhao et al. 2019 use the L2 form.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        epsilon: Radius in pixel units of [0, 1], greater than 0.
        norm: "linf" or "l2", of the ball and of the steps.
        steps: Number of steps, at least 1.
        step_size: Length of a step, greater than 0; None means epsilon / steps.
        stop_at_success: Whether an image stays where it first fools the model; one that never does
            is then returned unchanged.

    Returns:
        The perturbed images, where the attack failed too unless it stops at success.
    """
    return ascend(
        model,
        images,
        labels,
        up_the_loss(model, labels),
        epsilon=epsilon,
        norm=norm,
        steps=steps,
        step_size=step_size,
        stop_at_success=stop_at_success,
    )
