"""Auto-PGD: projected gradient descent that sets its own steps (Croce and Hein 2020)."""

from collections.abc import Callable
from functools import partial
from itertools import cycle
from typing import Literal

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import Norm, checked_step_size, inside, per_image, steepest_step
from advdetect.attacks.logits import differentiable_logits
from advdetect.attacks.losses import (
    Loss,
    LossFunction,
    logit_gradient,
    loss_named,
    targeted_difference_of_logits_ratio,
)
from advdetect.attacks.result import AttackResult
from advdetect.attacks.starts import Candidate, best_of, better, random_start
from advdetect.attacks.targets import largest_wrong_classes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

#: α, the share of the step of the gradient beside the step before.
_ALPHA = 0.75
#: ρ, the share of steps that must raise the loss for the step size to stay.
_RHO = 0.75


def apgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 100,
    restarts: int = 1,
    loss: Loss | Literal["dlr_targeted"] = "ce",
    target_classes: int = 9,
) -> AttackResult:
    """Climb with momentum, and halve an image's step where it stops to gain, from its best point.

    Croce and Hein 2020, Algorithm 1, whose first step is 2ε long. Starts are on the surface of the
    ball, as in the authors' code. Each image has of all points of all runs a success where there is
    one, and among those, or among the failures, the largest loss.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for its starts.
        epsilon: Radius in pixel units of [0, 1], greater than 0.
        norm: "linf" or "l2", of the ball and of the steps.
        steps: N_iter, number of steps of a run, at least 1.
        restarts: Number of runs, at least 1; with dlr_targeted for each class.
        loss: What is climbed, see `losses.loss_named`; or "dlr_targeted", which is climbed towards
            one wrong class after the other (APGD-T, section 5). Leaving y for any class is a
            success.
        target_classes: Of dlr_targeted: that many wrong classes, at least 1, those of the largest
            logits of the image.

    Returns:
        The perturbed images, where the attack failed too.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    first_step = checked_step_size(epsilon, norm, steps, 2 * epsilon)
    origin = images.detach()
    functions = _functions(model, origin, labels, loss, target_classes)
    turn = cycle(functions)
    within = partial(inside, origin=origin, epsilon=epsilon, norm=norm)

    def run() -> Candidate:
        start = random_start(origin, epsilon, norm, generator, surface=True)
        return _climb(model, start, labels, next(turn), within, norm, first_step, steps)

    best = best_of(restarts, lambda: best_of(len(functions), run))
    return AttackResult(
        adversarial=best.image,
        success=best.success,
        target=None,
        iterations=torch.full_like(labels, steps * restarts * len(functions)),
    )


def checkpoints(steps: int) -> set[int]:
    """Return the steps w_j = ⌈p_j N_iter⌉ after which the size of the steps is judged.

    Section 3.2: p_0 = 0, p_1 = 0.22, p_{j+1} = p_j + max(p_j − p_{j−1} − 0.03, 0.06).

    Args:
        steps: N_iter, at least 1.
    """
    marks = set()
    percent, gap = 22, 22  # whole numbers, whose ceiling no rounding changes
    while percent <= 100:
        marks.add(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return marks


@torch.no_grad()
def _functions(
    model: nn.Module, images: Tensor, labels: Tensor, loss: str, target_classes: int
) -> list[LossFunction]:
    """Return what is climbed one after the other: of dlr_targeted a loss for each class."""
    if loss != "dlr_targeted":
        return [loss_named(loss)]
    if target_classes < 1:
        raise AdvdetectError(
            f"The target_classes of apgd must be at least 1, not {target_classes}."
        )
    targets = largest_wrong_classes(model(images), labels, target_classes)
    return [
        partial(targeted_difference_of_logits_ratio, targets=target)
        for target in targets.unbind(dim=1)
    ]


@torch.no_grad()
def _climb(
    model: nn.Module,
    start: Tensor,
    labels: Tensor,
    loss: LossFunction,
    within: Callable[[Tensor], Tensor],
    norm: Norm,
    first_step: float,
    steps: int,
) -> Candidate:
    """Run Algorithm 1 once, every image with its own step size, and return the best points.

    `within` maps points to the nearest ones in the ball and the box. The order within an iteration
    is that of the authors' code: a point is looked at, the step size judged, the next one computed.
    """
    marks, mark = checkpoints(steps), 0
    point = before = start
    size = torch.full_like(start[:, :1, :1, :1], first_step)
    nothing = torch.full_like(size.flatten(), -torch.inf)
    best = Candidate(start, torch.zeros_like(labels, dtype=torch.bool), nothing)
    top, top_gradient, top_loss = start, torch.zeros_like(start), nothing
    top_at_mark, last_loss = nothing, -nothing
    rises = torch.zeros_like(labels)
    # Before the first checkpoint there is no other that could have found the same top.
    halved = torch.ones_like(best.success)
    for step in range(steps + 1):
        logits, gradient_of = differentiable_logits(model, point)
        value = loss(logits, labels)
        best = better(Candidate(point, logits.argmax(dim=1) != labels, value), best)
        if step == steps:
            break
        gradient = gradient_of(logit_gradient(loss, logits, labels))
        rises += value > last_loss
        last_loss = value
        higher = value > top_loss
        top = _where(higher, point, top)
        top_gradient = _where(higher, gradient, top_gradient)
        top_loss = torch.where(higher, value, top_loss)
        if step in marks:
            stuck = (rises <= _RHO * (step - mark)) | (~halved & (top_loss <= top_at_mark))
            size = _where(stuck, size / 2, size)
            point, gradient = _where(stuck, top, point), _where(stuck, top_gradient, gradient)
            halved, top_at_mark, mark, rises = stuck, top_loss, step, torch.zeros_like(rises)
        straight = within(point + size * steepest_step(gradient, norm))
        share = _ALPHA if step > 0 else 1.0
        moved = within(point + share * (straight - point) + (1 - share) * (point - before))
        point, before = moved, point
    return best


def _where(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(per_image(chosen), new, old)
