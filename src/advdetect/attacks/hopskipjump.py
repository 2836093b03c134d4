"""HopSkipJump: along the boundary by labels alone (Chen, Jordan and Wainwright 2020)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from advdetect.attacks.balls import BALLS
from advdetect.attacks.bisection import bisect_smallest
from advdetect.attacks.gradient import (
    Norm,
    checked_step_size,
    misclassified,
    per_image,
    steepest_step,
)
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Sides of the random squares of a start in turn, in pixels; every second time in black and white.
_SIDES = (1, 2, 4, 8)
#: Halvings of the way from the image to its start; the authors stop at 0.001.
_START_HALVINGS = 10
#: Halvings of a step that would not fool; then the image stays where it is.
_STEP_HALVINGS = 20
#: Directions that are asked for at once: what bounds the memory.
_AT_ONCE = 16
#: Share of the distance that the result lies beyond the boundary: rounding must not undo it.
_BEYOND = 1e-4

#: Maps (n, C, H, W) images, several of each lane one after the other, to whether they fool: (n,).
Ask = Callable[[Tensor], Tensor]
#: Maps a number k to (lanes, k, C, H, W) random numbers.
Draw = Callable[[int], Tensor]


@torch.no_grad()
def hopskipjump(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    norm: Norm = "l2",
    steps: int = 40,
    evaluations: int = 100,
    max_evaluations: int = 10_000,
    gamma: float = 1.0,
    tries: int = 100,
) -> AttackResult:
    """Step along the normal of the boundary, estimated from labels, and return to it by bisection.

    Chen, Jordan and Wainwright 2020, Algorithm 2. Step t asks for evaluations · √t random
    directions around the point on which side they are, of which follows the direction of equation
    (16) with the baseline of equation (17). Its length is the distance / √t, halved until it fools,
    and bisection towards the image ends it. The start is the first of some random images that
    fools: uniform noise as in the paper, then coarser and in black and white, since a network may
    have one class for all noise. The authors' last point is here the nearest of all.

    Args:
        model: Answers labels, as the largest of its outputs; neither scores nor a gradient are
            looked at.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image.
        norm: "l2" or "linf".
        steps: T, at least 1.
        evaluations: B_0, directions of the first step, at least 1.
        max_evaluations: Directions of a step, at most.
        gamma: Bisection ends at a share of γ d^(−3/2) of the distance in L2, γ d^(−2) in L∞, for
            images of d numbers; greater than 0.
        tries: Random images, at most, that are asked for a start, at least 1.

    Returns:
        The nearest images found; where no start fools, or the image is misclassified from the
        start, the image unchanged. Iterations are queries, by which forward passes are shared.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    checked_step_size(gamma, norm, steps, None)
    if min(evaluations, max_evaluations, tries) < 1:
        raise AdvdetectError(
            "The evaluations, max_evaluations and tries of hopskipjump must be at least 1, not "
            f"{evaluations}, {max_evaluations} and {tries}."
        )
    origin = images.detach()
    there = misclassified(model, origin, labels)
    start, found, queries = _starts(model, origin, labels, generator, tries, ~there)
    state: State = {
        "origin": origin,
        "label": labels,
        "owner": torch.arange(len(labels), device=labels.device),
        "point": start,
        "best": origin.clone(),
        "shortest": torch.full_like(origin[:, 0, 0, 0], torch.inf),
        "iterations": queries,
        "done": ~found,
    }
    number = 0  # of the step; the same for all lanes

    def asking(state: State) -> Ask:
        def ask(images: Tensor) -> Tensor:
            each = len(images) // len(state["label"])
            state["iterations"] += each
            return misclassified(model, images, state["label"].repeat_interleave(each))

        return ask

    def step(state: State) -> State:
        nonlocal number
        number += 1
        ask = asking(state)
        if number == 1:
            state["point"] = _at_boundary(ask, state["origin"], state["point"], norm, gamma)
            _keep_nearest(state, norm)
        distance = BALLS[norm].length(state["point"] - state["origin"])
        count = min(int(evaluations * math.sqrt(number)), max_evaluations)
        size = origin[0].numel()
        radius = torch.full_like(distance, 0.1)  # where no boundary has been crossed
        if number > 1:
            radius = gamma * distance / size
        streams = generator[state["owner"]]
        draw = _directions(streams, norm, state["origin"])
        normal = estimated_normal(ask, state["point"], radius, draw, count)
        moved = _stepped(model, state, steepest_step(normal, norm), distance / math.sqrt(number))
        state["point"] = _at_boundary(ask, state["origin"], moved, norm, gamma)
        _keep_nearest(state, norm)
        if number >= steps:
            _go_beyond(ask, state)
            state["done"] = torch.ones_like(state["done"])
        return state

    end = iterate(state, step, keep=("best", "iterations"), every=1)
    return AttackResult(
        adversarial=torch.where(per_image(found), end["best"], origin),
        success=there | found,
        target=None,
        iterations=end["iterations"],
    )


def estimated_normal(
    ask: Ask, point: Tensor, radius: Tensor, draw: Draw, evaluations: int
) -> Tensor:
    """Estimate the direction in which the model is fooled, up to its length.

    Equations (16) and (17): the mean of the directions, each weighted by whether it fools (1 or −1)
    less the mean of these weights; where all are on one side, by these weights themselves.

    Args:
        ask: Says of images whether they fool.
        point: (N, C, H, W) in [0, 1], near the boundary.
        radius: (N,) how far the directions go.
        draw: Draws them, of norm 1.
        evaluations: Number of directions, at least 1.

    Returns:
        (N, C, H, W).
    """
    centre, length = point[:, None], radius.view(-1, 1, 1, 1, 1)
    weighted, total = torch.zeros_like(point), torch.zeros_like(point)
    balance = torch.zeros_like(radius)
    for first in range(0, evaluations, _AT_ONCE):
        count = min(_AT_ONCE, evaluations - first)
        around = (centre + length * draw(count)).clamp(0, 1)
        fools = ask(around.flatten(0, 1)).view(-1, count)
        weights = 2 * fools.to(point) - 1
        taken = (around - centre) / length  # what the box has left of it
        weighted += (weights.view(-1, count, 1, 1, 1) * taken).sum(dim=1)
        total += taken.sum(dim=1)
        balance += weights.sum(dim=1)
    mean = balance / evaluations
    baseline = torch.where(mean.abs() == 1, 0, mean)
    return weighted - per_image(baseline) * total


def halvings(size: int, norm: Norm, gamma: float) -> int:
    """Return after how many halvings a bisection is at the authors' share of its interval."""
    exponent = 1.5 if norm == "l2" else 2.0
    return max(math.ceil(exponent * math.log2(size) - math.log2(gamma)), 1)


def _starts(
    model: nn.Module,
    origin: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
    tries: int,
    wanted: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return random images, blended with the clean ones as long as they fool, which do, and asked.

    Returns:
        (N, C, H, W), where none fools the clean image; (N,) bool; and (N,) queries.
    """
    start, found = origin.clone(), torch.zeros_like(wanted)
    queries = wanted.to(labels)  # one was whether it is right when clean
    for number in range(tries):
        rows = (wanted & ~found).nonzero().flatten()
        if not len(rows):
            break
        drawn = generator[rows].uniform(*origin.shape[1:]).to(origin).view_as(origin[rows])
        drawn = _coarse(drawn, _SIDES[number % len(_SIDES)])
        drawn = drawn.round() if number // len(_SIDES) % 2 else drawn
        fools = misclassified(model, drawn, labels[rows])
        start[rows[fools]], found[rows[fools]] = drawn[fools], True
        queries[rows] += 1
    rows = found.nonzero().flatten()
    if len(rows):
        clean, far, own = origin[rows], start[rows], labels[rows]
        share, _ = bisect_smallest(
            lambda share: misclassified(model, _between(clean, far, share, "l2"), own),
            torch.ones_like(far[:, 0, 0, 0]),
            _START_HALVINGS,
        )
        start[rows] = _between(clean, far, share, "l2")
        queries[rows] += _START_HALVINGS + 2
    return start, found, queries


def _coarse(images: Tensor, side: int) -> Tensor:
    """Return images whose squares of so many pixels have the value of their first one."""
    height, width = (torch.arange(length) // side * side for length in images.shape[2:])
    return images[:, :, height][:, :, :, width]


def _directions(generator: SampleGenerator, norm: Norm, like: Tensor) -> Draw:
    def draw(count: int) -> Tensor:
        shape = (count, *like.shape[1:])
        drawn = generator.normal(*shape) if norm == "l2" else 2 * generator.uniform(*shape) - 1
        drawn = drawn.to(like).view(len(like), *shape)
        return drawn / drawn.flatten(2).norm(dim=2).view(-1, count, 1, 1, 1)

    return draw


def _stepped(model: nn.Module, state: State, direction: Tensor, length: Tensor) -> Tensor:
    """Go along the direction, half as far as long as that does not fool; only those ask again."""
    point = state["point"].clone()
    rows = torch.arange(len(point), device=point.device)
    for _ in range(_STEP_HALVINGS):
        moved = (state["point"][rows] + per_image(length[rows]) * direction[rows]).clamp(0, 1)
        fools = misclassified(model, moved, state["label"][rows])
        state["iterations"][rows] += 1
        point[rows[fools]] = moved[fools]
        rows = rows[~fools]
        if not len(rows):
            break
        length = length / 2
    return point


def _at_boundary(ask: Ask, origin: Tensor, point: Tensor, norm: Norm, gamma: float) -> Tensor:
    """Return the point between the image and one that fools that still does, by bisection."""
    upper = torch.ones_like(point[:, 0, 0, 0])
    if norm == "linf":
        upper = BALLS[norm].length(point - origin)
    share, found = bisect_smallest(
        lambda share: ask(_between(origin, point, share, norm)),
        upper,
        halvings(origin[0].numel(), norm, gamma),
    )
    return torch.where(per_image(found), _between(origin, point, share, norm), point)


def _between(origin: Tensor, point: Tensor, share: Tensor, norm: Norm) -> Tensor:
    """Return what lies on the way: a blend in L2; in L∞ the perturbation clipped to the share."""
    change, share = point - origin, per_image(share)
    change = share * change if norm == "l2" else torch.minimum(change.maximum(-share), share)
    return (origin + change).clamp(0, 1)


def _keep_nearest(state: State, norm: Norm) -> None:
    distance = BALLS[norm].length(state["point"] - state["origin"])
    nearer = distance < state["shortest"]
    state["best"] = torch.where(per_image(nearer), state["point"], state["best"])
    state["shortest"] = torch.where(nearer, distance, state["shortest"])


def _go_beyond(ask: Ask, state: State) -> None:
    """Take the nearest point a little further, where that fools."""
    further = state["origin"] + (1 + _BEYOND) * (state["best"] - state["origin"])
    further = further.clamp(0, 1)
    state["best"] = torch.where(per_image(ask(further)), further, state["best"])
