"""The least perturbation along a direction (Zhao et al. 2019, section 3.4, Table 2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advdetect.attacks.bisection import bisect_smallest
from advdetect.attacks.gradient import error_log_odds
from advdetect.attacks.logits import margin, rounding
from advdetect.attacks.one_step import OneStep
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator


def least_perturbation(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    direction: Callable[..., OneStep],
    epsilon_max: float,
    scan_points: int = 100,
    halvings: int = 10,
) -> AttackResult:
    """Find for each image the smallest ε in [0, epsilon_max] at which a one-step attack fools.

    x' = clip(x + ε d) with the direction d of the image, computed once. Zhao et al. 2019 search by
    bisection, which finds one of the places where fooling begins. Along a line an image can leave
    its class, come back and leave it again, so ε first runs through a grid from 0 upwards, and the
    interval before the first grid point that fools is bisected: no smaller ε is missed but where
    fooling begins and ends within one interval of epsilon_max / scan_points.

    Another class must lead by more than rounding, since the least perturbation lies at the
    boundary, where another batch size could undo it.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, handed to the direction.
        direction: The one-step attack: maps model, images, labels and ``generator=`` to a
            `OneStep`.
        epsilon_max: Largest ε, greater than 0, in pixel units of [0, 1] for directions of length
            one. The clipped perturbation is shorter.
        scan_points: Intervals of the grid, at least 1; 1 is bisection alone.
        halvings: Halvings of one interval, at least 0; ε is at most
            epsilon_max / scan_points · 2^−halvings too large.

    Returns:
        The images at their least perturbations; those that no ε fools, unchanged. An image that
        the model gets wrong has a least perturbation of zero.

    Raises:
        AdvdetectError: A parameter is outside its range, or the direction returned something else.
    """
    _check_parameters(epsilon_max, scan_points, halvings)
    step = direction(model, images, labels, generator=generator)
    _check_step(step, images)
    origin, line = images.detach(), step.direction.detach()

    def grid(number: Tensor) -> Tensor:
        return epsilon_max * number.to(images.dtype) / scan_points

    def scan(state: State) -> State:
        number = state["number"] + 1
        rows = state["origin"], state["line"], state["labels"]
        _, logits = _move(model, *rows, grid(number), step.signed)
        fooled = _fooled(logits, state["labels"])
        return state | {"number": number, "done": fooled | (number == scan_points)}

    def move(epsilon: Tensor) -> tuple[Tensor, Tensor]:
        adversarial, logits = _move(model, origin, line, labels, epsilon, step.signed)
        return adversarial, _fooled(logits, labels)

    with torch.no_grad():
        start = {
            "origin": origin,
            "line": line,
            "labels": labels,
            "number": torch.full_like(labels, -1),
            "done": torch.zeros_like(labels, dtype=torch.bool),
        }
        number = iterate(start, scan, keep=["number"], every=1)["number"]
        low, high = grid((number - 1).clamp_min(0)), grid(number)
        rest, _ = bisect_smallest(lambda part: move(low + part)[1], high - low, halvings)
        epsilon = low + rest
        adversarial, success = move(epsilon)
        return AttackResult(
            adversarial=torch.where(success.view(-1, 1, 1, 1), adversarial, origin),
            success=success,
            target=step.target,
            iterations=(epsilon > 0).to(labels.dtype),
        )


def _move(
    model: nn.Module, origin: Tensor, line: Tensor, labels: Tensor, epsilon: Tensor, signed: bool
) -> tuple[Tensor, Tensor]:
    """Return clip(x ± ε d), of the sign whose loss is larger where both are allowed, and logits."""
    shift = epsilon.view(-1, 1, 1, 1) * line
    forward = (origin + shift).clamp(0, 1)
    logits = model(forward)
    if signed:
        return forward, logits
    backward = (origin - shift).clamp(0, 1)
    logits_backward = model(backward)
    turn = error_log_odds(logits_backward, labels) > error_log_odds(logits, labels)
    return (
        torch.where(turn.view(-1, 1, 1, 1), backward, forward),
        torch.where(turn[:, None], logits_backward, logits),
    )


def _fooled(logits: Tensor, labels: Tensor) -> Tensor:
    return margin(logits, labels) < -rounding(logits)


def _check_parameters(epsilon_max: float, scan_points: int, halvings: int) -> None:
    if not 0 < epsilon_max < float("inf"):
        raise AdvdetectError(
            f"The epsilon_max of a least perturbation must be greater than 0 and finite, not "
            f"{epsilon_max}."
        )
    if scan_points < 1 or halvings < 0:
        raise AdvdetectError(
            f"A least perturbation needs scan_points of at least 1 and halvings of at least 0, not "
            f"{scan_points} and {halvings}."
        )


def _check_step(step: object, images: Tensor) -> None:
    if not isinstance(step, OneStep) or step.direction.shape != images.shape:
        raise AdvdetectError(
            "The direction of a least perturbation must return a OneStep whose direction has the "
            "shape of the images: see advdetect.attacks.one_step."
        )
