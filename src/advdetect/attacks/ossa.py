"""One-step spectral attack and its iterated form (Zhao et al. 2019)."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, checked_step_size, error_log_odds
from advdetect.attacks.result import AttackResult
from advdetect.fisher.input import top_eigenvector
from advdetect.randomness import SampleGenerator


def ossa(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    steps: int = 1,
    step_size: float | None = None,
) -> AttackResult:
    """Step along the top eigenvector of the input's Fisher information matrix.

    Zhao et al. 2019, equation (5) and section 3.1: x' = clip(x + ε s u), u the unit eigenvector of
    the largest eigenvalue. An eigenvector has no sign, and the paper asks for the one that raises
    the loss: s = ±1 is the one of the two clipped images x ± ε u whose loss at y is larger, which
    is a matter of the actual step and not only of the slope at x. With more steps, u and s are
    found anew at each, and each step is projected on the ε ball.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        epsilon: L2 radius in pixel units of [0, 1], greater than 0. Clipping makes the
            perturbation shorter.
        steps: Number of steps, at least 1.
        step_size: Length of a step, greater than 0; None means epsilon / steps.

    Returns:
        The perturbed images, where the attack failed too.
    """
    length = checked_step_size(epsilon, "l2", steps, step_size)
    with torch.no_grad():
        classes = model(images[:1]).shape[1]

    def direction(current: Tensor, _previous: Tensor) -> Tensor:
        vectors, _ = top_eigenvector(model, current)
        forward = error_log_odds(model((current + length * vectors).clamp(0, 1)), labels)
        backward = error_log_odds(model((current - length * vectors).clamp(0, 1)), labels)
        sign = torch.where(forward >= backward, 1.0, -1.0)
        return sign.view(-1, 1, 1, 1) * vectors

    return ascend(
        model,
        images,
        labels,
        direction,
        epsilon=epsilon,
        norm="l2",
        steps=steps,
        step_size=length,
        gradient_calls_per_step=classes - 1,
    )
