"""The search for a near success, towards each of the classes whose boundaries are nearest.

`nearest_classes` returns what it finds; the attacks by penalty start from it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advdetect.attacks.balls import BALLS, Ball, NormName
from advdetect.attacks.decoupled import (
    adapt_radius,
    cosine_fall,
    lanes_at,
    look,
    step_in_ball,
)
from advdetect.attacks.gradient import normalize
from advdetect.attacks.logits import differentiable_logits, is_reached, rounding
from advdetect.attacks.targets import largest_wrong_classes
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Classes that are searched towards, classes that are ranked, and steps: see `nearest_classes`.
CANDIDATES, RANKED, STEPS = 3, 10, 50

_LAST_LENGTH = 0.01  # of a step, as a share of the radius
#: Share by which the radius changes at the first step and at the last.
_GAMMA = (0.1, 0.005)
#: With a share t of the steps done, a search is dropped if its success, or where it has none its
#: ball, is farther than the success of the image by a share of 0.4 (1 − t)², more than it makes up
#: in the rest; not before t = 0.2.
_SLACK = 0.4
_FIRST_DROP = 0.2
#: Share by which a distance may differ and still be the same.
_TIE = 1e-6
#: How far the first steps of further starts turn from the gradient: the length across, along is 1.
_TURN = 10.0


class _First(NamedTuple):
    """How a search begins.

    Attributes:
        radius: As a multiple of the distance to where the linearised model is a success.
        length: Of a step, as a share of the radius.
    """

    radius: float
    length: float


#: By the norm, to the boundary and to a margin of κ at least as large as that of the image; between
#: them in proportion to √κ, by geometric means. A large κ is reached far beyond the boundary and
#: looks farther still where logits saturate; long steps jump about there.
_TO_BOUNDARY = {"l1": _First(1.5, 1.0), "l2": _First(1.5, 3.0), "linf": _First(1.5, 3.0)}
_TO_MARGIN = {"l1": _First(0.5, 0.1), "l2": _First(0.5, 0.5), "linf": _First(0.5, 0.5)}


class NearSuccesses(NamedTuple):
    """What was found for N images with each of K values of κ.

    Attributes:
        image: (N · K, searches, C, H, W), the success of each search, the nearest first, and the
            values of κ of an image one after the other; the clean image where there is none, or
            where that is a success as it is.
        distance: (N · K, searches) by the norm, infinite where there is none.
        iterations: (N · K,) int64 steps of all searches together.
    """

    image: Tensor
    distance: Tensor
    iterations: Tensor


class _Ranked(NamedTuple):
    """Classes by image: (N, R) indices, (N, R) gaps to the boundary, (N, R, C, H, W) gradients."""

    classes: Tensor
    gap: Tensor
    normal: Tensor


@torch.no_grad()
def search_classes(
    model: nn.Module,
    images: Tensor,
    goal: Tensor,
    kappas: Sequence[float],
    *,
    generator: SampleGenerator,
    targeted: bool = False,
    norm: NormName = "l2",
    candidates: int = CANDIDATES,
    ranked: int | None = RANKED,
    starts: int = 1,
    steps: int = STEPS,
) -> NearSuccesses:
    """Search for the nearest image at which a class is ahead by κ.

    See `nearest_classes`, where κ is 0. The ranking at the image serves all κ: the boundary at
    which a class is ahead by κ is linearised as that of κ = 0 is.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1]; up to N · K · candidates · starts go through the model
            at a time.
        goal: (N,) int64 classes to be reached, or to be left for any other.
        kappas: K values of κ, each at least 0, in logits.
        generator: One stream per image, for starts after the first.
        targeted: Whether the goal is to be reached: then the search is towards it alone.
        norm: Of the perturbation.
        candidates: Classes that are searched towards, at least 1.
        ranked: Only so many classes are ranked by their distance; None means all.
        starts: Searches towards each class, at least 1.
        steps: Of each search, at least 1.
    """
    ball, count = BALLS[norm], len(images) * len(kappas)
    logits, ranking = _rank(model, images, goal, targeted, ranked)
    values = torch.tensor(kappas, dtype=logits.dtype, device=logits.device)
    distance = _distances(ball, ranking, values, images)
    width = min(candidates, distance.shape[2])
    chosen = distance.topk(width, dim=2, largest=False, sorted=True)
    rows = torch.arange(len(images), device=images.device)
    normal = ranking.normal[rows[:, None, None], chosen.indices]
    radius, rank = (part.repeat_interleave(starts, dim=2).flatten() for part in chosen)
    usable, searches = radius.isfinite(), width * starts
    image_of = rows.repeat_interleave(len(kappas) * searches)
    start, kappa = images[image_of], values.repeat(len(images)).repeat_interleave(searches)
    beyond = (kappa / ranking.gap[image_of, rank]).nan_to_num(0).clamp(0, 1).sqrt()
    first_radius, first_length = (
        boundary * (margin / boundary) ** beyond
        for boundary, margin in zip(_TO_BOUNDARY[norm], _TO_MARGIN[norm], strict=True)
    )
    radius = torch.where(usable, first_radius * radius, 0)
    there = is_reached(logits[image_of], goal[image_of], targeted=targeted, kappa=kappa)
    state = lanes_at(ball, start, start, radius) | {
        "owner": torch.arange(count, device=images.device).repeat_interleave(searches),
        "goal": goal[image_of],
        "towards": ranking.classes[image_of, rank],
        "kappa": kappa,
        "first_length": first_length,
        "iterations": torch.zeros_like(image_of),
        "done": there | ~usable,
    }
    state["shortest"].masked_fill_(there[:, None], 0)
    # The gradient at the image is known from the ranking.
    step_in_ball(ball, state, _first_directions(normal.flatten(1, 2), starts, generator), radius)

    def aim(logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        direction = _towards(logits, state["towards"], state["goal"], targeted)
        reached = is_reached(logits, state["goal"], targeted=targeted, kappa=state["kappa"])
        return direction, reached

    def step(state: State) -> State:
        progress = state["iterations"].to(images.dtype) / steps
        direction, success = look(model, ball, state, aim)
        adapt_radius(state, success, cosine_fall(*_GAMMA, progress))
        state["radius"] = torch.minimum(state["radius"], state["shortest"][:, 0])
        length = cosine_fall(state["first_length"], _LAST_LENGTH, progress)
        step_in_ball(ball, state, direction, length * state["radius"])
        state["iterations"] += 1
        state["done"] = (state["iterations"] >= steps) | _behind(state, count, progress)
        return state

    # A step costs a backward pass: more than waiting for the device does.
    end = iterate(state, step, keep=("best", "shortest", "iterations"), every=1)
    shortest = end["shortest"].view(count, searches)
    # Searches that end on the same ball are equally far but for rounding: their order is kept.
    least = shortest.amin(dim=1, keepdim=True)
    order = torch.where(shortest <= least * (1 + _TIE), least, shortest).argsort(dim=1, stable=True)
    image = end["best"].view(count, searches, *images.shape[1:])
    return NearSuccesses(
        image.take_along_dim(order.view(count, searches, 1, 1, 1), dim=1),
        shortest.gather(1, order),
        end["iterations"].view(count, searches).sum(dim=1),
    )


def _rank(
    model: nn.Module, images: Tensor, goal: Tensor, targeted: bool, ranked: int | None
) -> tuple[Tensor, _Ranked]:
    """Return the (N, C) logits and how far the classes are that one may search towards."""
    logits, gradient = differentiable_logits(model, images)
    classes = goal[:, None]
    if not targeted:
        classes = largest_wrong_classes(logits, goal, ranked)
    gaps, normals = [], []
    for towards in classes.unbind(dim=1):
        difference = _towards(logits, towards, goal, targeted)
        normals.append(gradient(difference))
        gaps.append(rounding(logits) - (logits * difference).sum(dim=1))
    return logits, _Ranked(classes, torch.stack(gaps, dim=1), torch.stack(normals, dim=1))


def _distances(ball: Ball, ranking: _Ranked, kappas: Tensor, images: Tensor) -> Tensor:
    """Return (N, K, R) distances to where a class is ahead by κ, infinite where there is none."""
    pairs = zip(ranking.gap.unbind(1), ranking.normal.unbind(1), strict=True)
    columns = [
        torch.stack(
            [ball.distance((gap + kappa).clamp_min(0), normal, images) for kappa in kappas], dim=1
        )
        for gap, normal in pairs
    ]
    return torch.stack(columns, dim=2).to(images.dtype).nan_to_num(torch.inf)


def _towards(logits: Tensor, towards: Tensor, goal: Tensor, targeted: bool) -> Tensor:
    """Return (lanes, C) weights of the logits: the class, less the goal.

    Where the class is the goal, to be reached, it is less its largest rival.
    """
    column = towards[:, None]
    away = logits.scatter(1, column, -torch.inf).argmax(dim=1) if targeted else goal
    return torch.zeros_like(logits).scatter(1, column, 1).scatter(1, away[:, None], -1)


def _first_directions(normal: Tensor, starts: int, generator: SampleGenerator) -> Tensor:
    """Return (N · K · starts, C, H, W) directions: each of (N, K, C, H, W) normals, then turned.

    The directions across are the same for all classes of an image, but for their part along.
    """
    along = normalize(normal.flatten(0, 1), order=2).view_as(normal)
    directions = [normal]
    for _ in range(starts - 1):
        noise = generator.normal(*normal.shape[2:]).to(normal)[:, None]
        across = noise - (noise * along).sum(dim=(2, 3, 4), keepdim=True) * along
        across = normalize(across.flatten(0, 1), order=2).view_as(normal)
        directions.append(along + _TURN * across)
    return torch.stack(directions, dim=2).flatten(0, 2)


def _behind(state: State, count: int, progress: Tensor) -> Tensor:
    """Return a (lanes,) bool tensor: whether another search of the image is out of reach."""
    shortest, owner = state["shortest"][:, 0], state["owner"]
    nearest = shortest.new_full((count,), torch.inf).scatter_reduce(0, owner, shortest, "amin")
    reachable = (1 + _SLACK * (1 - progress).square()) * nearest[owner]
    # A search without a success is where its ball is: it may find one that is nearer.
    reached = torch.where(shortest.isfinite(), shortest, state["radius"])
    return (progress >= _FIRST_DROP) & (reached > reachable)
