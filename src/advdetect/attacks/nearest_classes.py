"""Least perturbation by a search towards each of the nearest classes."""

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
from advdetect.attacks.gradient import check_steps, normalize
from advdetect.attacks.logits import differentiable_logits, margin, rounding
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: First radius, as a multiple of the distance to the boundary of the linearised model.
_FIRST_RADIUS = 1.5
#: Length of the first step by the norm, and of the last one, as shares of the radius.
_FIRST_LENGTH = {"l1": 1.0, "l2": 3.0, "linf": 3.0}
_LAST_LENGTH = 0.01
#: Share by which the radius changes at the first step and at the last.
_GAMMA = (0.1, 0.005)
#: With a share t of the steps done, a search is dropped if its success is farther than the image's
#: by a share of 0.4 (1 − t)², more than it makes up in the rest; not before t = 0.2.
_SLACK = 0.4
_FIRST_DROP = 0.2
#: Share by which a distance may differ and still be the same.
_TIE = 1e-6
#: How far the first steps of further starts turn from the gradient: the length across, along is 1.
_TURN = 10.0


@torch.no_grad()
def nearest_classes(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    norm: NormName = "l2",
    candidates: int = 3,
    ranked: int | None = 10,
    starts: int = 1,
    steps: int = 50,
) -> AttackResult:
    """Search towards each of the classes whose boundaries are nearest, and keep the nearest point.

    To first order the boundary to class k is at the distance (z_y − z_k) / ‖∇(z_y − z_k)‖ from the
    image, by the dual norm (Moosavi-Dezfooli et al. 2016, section 3.3); in L1 the box is heeded.
    Towards each of the nearest classes goes a targeted DDN (Rony et al. 2019) on the margin z_y −
    z_t, whose direction does not mix classes as that of the cross entropy does. In L1 and L∞ the
    sphere is a ball, as in FMN (Pintor et al. 2021), in L1 together with the box. All lengths are
    relative: the first radius is 1.5 times that distance, and a step falls from 3 radii (L1: 1) to
    0.01 along a cosine, while the radius changes by 10 % at first and 0.5 % at last, and is never
    above the nearest success. A step goes along the gradient, in L∞ along the roots of its entries.
    Leaving y for any class is a success. A search that has fallen behind another one of the same
    image is dropped.

    The result is a local minimum, as that of every attack by gradients: what is lost is lost in the
    choice of it, which is why the first steps are long. Further starts leave the image in random
    directions that are ten times as far across the gradient as along it.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1]; up to N · candidates · starts go through the model at
            a time.
        labels: (N,) int64 true classes y.
        generator: One stream per image, for starts after the first.
        norm: "l1", "l2" or "linf", of the perturbation.
        candidates: Classes that are searched towards, at least 1.
        ranked: Only so many wrong classes, those of the largest logits, are ranked by their
            distance, at one backward pass for each; at least `candidates`. None means all.
        starts: Searches towards each class, at least 1.
        steps: Of each search, at least 1.

    Returns:
        The nearest images found; where there is none, or where the image is misclassified from the
        start, the image unchanged. Iterations are those of all searches together.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    _check(norm, candidates, ranked, starts, steps)
    ball, origin, count = BALLS[norm], images.detach(), len(images)
    logits, target, distance, normal = _nearest(model, ball, origin, labels, candidates, ranked)
    there = -margin(logits, labels) >= rounding(logits)
    first = _first_directions(normal, starts, generator)
    target, distance = (values.repeat_interleave(starts, dim=1) for values in (target, distance))
    lanes = target.shape[1]
    owner = torch.arange(count, device=labels.device).repeat_interleave(lanes)
    usable, start = distance.isfinite().flatten(), origin[owner]
    radius = torch.where(usable, _FIRST_RADIUS * distance.flatten(), 0)
    state = lanes_at(ball, start, start, radius) | {
        "owner": owner,
        "label": labels[owner],
        "target": target.flatten(),
        "iterations": torch.zeros_like(owner),
        "done": there[owner] | ~usable,
    }
    # The gradient at the image is known from the ranking.
    step_in_ball(ball, state, first, radius)

    def aim(logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        towards = torch.zeros_like(logits).scatter(1, state["target"][:, None], 1)
        left = -margin(logits, state["label"]) >= rounding(logits)
        return towards.scatter(1, state["label"][:, None], -1), left

    def step(state: State) -> State:
        progress = state["iterations"].to(origin.dtype) / steps
        direction, success = look(model, ball, state, aim)
        adapt_radius(state, success, cosine_fall(*_GAMMA, progress))
        state["radius"] = torch.minimum(state["radius"], state["shortest"][:, 0])
        length = cosine_fall(_FIRST_LENGTH[norm], _LAST_LENGTH, progress)
        step_in_ball(ball, state, direction, length * state["radius"])
        state["iterations"] += 1
        state["done"] = (state["iterations"] >= steps) | _behind(state, count, progress)
        return state

    # A step costs a backward pass: more than waiting for the device does.
    end = iterate(state, step, keep=("best", "shortest", "iterations"), every=1)
    shortest = end["shortest"].view(count, lanes)
    least = shortest.amin(dim=1, keepdim=True)
    # Searches that end on the same ball are equally far but for rounding: take the first of them.
    nearest = (shortest <= least * (1 + _TIE)).int().argmax(dim=1)
    iterations = end["iterations"].view(count, lanes).sum(dim=1)
    rows = torch.arange(count, device=labels.device) * lanes + nearest
    return AttackResult(
        adversarial=end["best"][rows, 0],
        success=there | least[:, 0].isfinite(),
        target=None,
        iterations=iterations,
    )


def _check(norm: str, candidates: int, ranked: int | None, starts: int, steps: int) -> None:
    if norm not in BALLS:
        raise AdvdetectError(
            f"The norm of nearest_classes must be one of {', '.join(BALLS)}, not {norm!r}."
        )
    check_steps(steps)
    for name, value in (("candidates", candidates), ("starts", starts)):
        if value < 1:
            raise AdvdetectError(f"The {name} of nearest_classes must be at least 1, not {value}.")
    if ranked is not None and ranked < candidates:
        raise AdvdetectError(
            f"The ranked classes of nearest_classes must be at least as many as its candidates, "
            f"{candidates}, or null, not {ranked}."
        )


def _nearest(
    model: nn.Module,
    ball: Ball,
    images: Tensor,
    labels: Tensor,
    candidates: int,
    ranked: int | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the classes whose linearised boundaries are nearest.

    Returns:
        The (N, C) logits; the (N, K) classes, K at most ``candidates``, with their (N, K)
        distances, not finite where no gradient points anywhere, and the (N, K, C, H, W) gradients
        of z_k − z_y.
    """
    logits, gradient = differentiable_logits(model, images)
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    count = logits.shape[1] - 1
    count = count if ranked is None else min(ranked, count)
    classes = wrong.topk(count, dim=1).indices
    own = torch.zeros_like(logits).scatter(1, labels[:, None], 1)
    distances, normals = [], []
    for column in classes.split(1, dim=1):
        difference = torch.zeros_like(logits).scatter(1, column, 1) - own
        normal = gradient(difference)
        gap = rounding(logits) - (logits * difference).sum(dim=1)
        distances.append(ball.distance(gap.clamp_min(0), normal, images).to(logits.dtype))
        normals.append(normal)
    distance = torch.stack(distances, dim=1).nan_to_num(torch.inf)
    chosen = distance.topk(min(candidates, count), dim=1, largest=False, sorted=True).indices
    index = chosen.view(*chosen.shape, 1, 1, 1)
    return (
        logits,
        classes.gather(1, chosen),
        distance.gather(1, chosen),
        torch.stack(normals, dim=1).take_along_dim(index, dim=1),
    )


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
    return (progress >= _FIRST_DROP) & (shortest > reachable)
