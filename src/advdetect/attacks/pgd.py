"""Projected gradient descent from a random start (Madry et al. 2018)."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import Norm, ascend, checked_step_size, input_gradient
from advdetect.attacks.losses import Loss, loss_named
from advdetect.attacks.result import AttackResult
from advdetect.attacks.starts import Candidate, best_of, random_start
from advdetect.randomness import SampleGenerator

#: Radii that the steps go together: from any start to any point of the ball (section 5).
_REACH = 2.5


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 40,
    step_size: float | None = None,
    restarts: int = 1,
    loss: Loss = "ce",
) -> AttackResult:
    """Take the steps of `bim.bim` from a random point of the ball, once or several times.

    Madry et al. 2018, sections 2.1 and 4. A run returns its last point. Of several runs each image
    has a success where there is one, and among those, or among the failures, the largest loss.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for its starts.
        epsilon: Radius in pixel units of [0, 1], greater than 0.
        norm: "linf" or "l2", of the ball and of the steps.
        steps: Number of steps of a run, at least 1.
        step_size: Length of a step, greater than 0; None means 2.5 epsilon / steps, which leads
            from any start to any point of the ball.
        restarts: Number of runs, at least 1.
        loss: What is climbed, see `losses.loss_named`.

    Returns:
        The perturbed images, where the attack failed too.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    step_size = checked_step_size(epsilon, norm, steps, step_size, reach=_REACH)
    origin, function = images.detach(), loss_named(loss)

    def direction(current: Tensor, _previous: Tensor, lanes: Tensor) -> Tensor:
        return input_gradient(model, current, lambda logits: function(logits, labels[lanes]))

    def run() -> Candidate:
        end = ascend(
            model,
            origin,
            labels,
            direction,
            start=random_start(origin, epsilon, norm, generator, surface=False),
            epsilon=epsilon,
            norm=norm,
            steps=steps,
            step_size=step_size,
        )
        with torch.no_grad():
            value = function(model(end.adversarial), labels)
        return Candidate(end.adversarial, end.success, value)

    best = best_of(restarts, run)
    return AttackResult(
        adversarial=best.image,
        success=best.success,
        target=None,
        iterations=torch.full_like(labels, steps * restarts),
    )
