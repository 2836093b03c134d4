"""Momentum iterative fast gradient sign method (Dong et al. 2018)."""

from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, loss_gradient, normalize
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def mi_fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    steps: int = 10,
    decay: float = 1.0,
) -> AttackResult:
    """Step along the sign of a running sum of L1-normalised gradients.

    Dong et al. 2018, equations (6) and (7): g ← μ g + ∇_x L / ‖∇_x L‖₁ for each image on its own,
    x ← clip(x + (ε / T) sign g).

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        epsilon: L-infinity radius in pixel units of [0, 1], greater than 0.
        steps: T, at least 1.
        decay: μ, the decay factor of the momentum, at least 0; 0 gives the basic iterative method.

    Returns:
        The perturbed images, where the attack failed too.
    """

    def direction(current: Tensor, previous: Tensor, lanes: Tensor) -> Tensor:
        gradient = loss_gradient(model, current, labels[lanes])
        return decay * previous + normalize(gradient, order=1)

    return ascend(model, images, labels, direction, epsilon=epsilon, norm="linf", steps=steps)
