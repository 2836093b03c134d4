"""One-step spectral attack and its iterated form (Zhao et al. 2019)."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, checked_step_size, error_log_odds
from advdetect.attacks.one_step import OneStep
from advdetect.attacks.result import AttackResult
from advdetect.fisher.top_eigenpair import Method, top_eigenpair
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
    method: Method = "auto",
    iterations: int = 100,
    tolerance: float = 1e-3,
    draws: int | None = None,
    stop_at_success: bool = False,
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
        generator: One stream per image, for the random vectors and draws of the method; the exact
            one uses none.
        epsilon: L2 radius in pixel units of [0, 1], greater than 0. Clipping makes the
            perturbation shorter.
        steps: Number of steps, at least 1.
        step_size: Length of a step, greater than 0; None means epsilon / steps.
        method: How u is found, see `advdetect.fisher.top_eigenpair`: auto, exact, lanczos, power,
            class_lanczos, alias_lanczos or alias_power.
        iterations: Largest number of products with the matrix for one u, at least 1.
        tolerance: u is good enough when ‖Gu − λu‖ ≤ tolerance · λ; greater than 0.
        draws: Classes drawn for one u by the alias methods, at least 1; None means a fifth of the
            classes, rounded up, as in the paper.
        stop_at_success: Whether an image stays where it first fools the model; one that never does
            is then returned unchanged.

    Returns:
        The perturbed images, where the attack failed too unless it stops at success.

    Raises:
        AdvdetectError: A parameter is outside its range, or the method cannot treat the model.
    """
    length = checked_step_size(epsilon, "l2", steps, step_size)

    def direction(current: Tensor, _previous: Tensor, lanes: Tensor) -> Tensor:
        pair = top_eigenpair(
            model,
            current,
            method=method,
            generator=generator[lanes],
            iterations=iterations,
            tolerance=tolerance,
            draws=draws,
        )
        y = labels[lanes]
        forward = error_log_odds(model((current + length * pair.vector).clamp(0, 1)), y)
        backward = error_log_odds(model((current - length * pair.vector).clamp(0, 1)), y)
        sign = torch.where(forward >= backward, 1.0, -1.0)
        return sign.view(-1, 1, 1, 1) * pair.vector

    return ascend(
        model,
        images,
        labels,
        direction,
        epsilon=epsilon,
        norm="l2",
        steps=steps,
        step_size=length,
        stop_at_success=stop_at_success,
    )


def ossa_direction(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    method: Method = "auto",
    iterations: int = 100,
    tolerance: float = 1e-3,
    draws: int | None = None,
) -> OneStep:
    """Return the direction of `ossa`: the top eigenvector of the input Fisher information.

    Zhao et al. 2019, equation (5). It has no sign, which is chosen at each ε as `ossa` does.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: Not used; the eigenvector belongs to the prediction.
        generator: One stream per image, as in `ossa`.
        method: How the eigenvector is found, as in `ossa`.
        iterations: As in `ossa`.
        tolerance: As in `ossa`.
        draws: As in `ossa`.

    Raises:
        AdvdetectError: A parameter is outside its range, or the method cannot treat the model.
    """
    pair = top_eigenpair(
        model,
        images,
        method=method,
        generator=generator,
        iterations=iterations,
        tolerance=tolerance,
        draws=draws,
    )
    return OneStep(pair.vector, signed=False)
