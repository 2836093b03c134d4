"""Square attack: random search by squares, which asks for scores only (Andriushchenko 2020)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import Norm, checked_step_size, inside, normalize, per_image
from advdetect.attacks.logits import margin
from advdetect.attacks.result import AttackResult
from advdetect.attacks.windows import bump, cut, filled, inside_window, tiles
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Steps of 10,000 after each of which the share of the pixels that a square has is halved.
_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
#: Steps whose random numbers are drawn at once.
_BLOCK = 64

#: Maps a state, the side of the squares and (lanes, draws) numbers in [0, 1) to candidates.
_Propose = Callable[[State, int, Tensor], Tensor]


@torch.no_grad()
def square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 5000,
    p_init: float = 0.8,
) -> AttackResult:
    """Change squares at random places of the surface of the ball, and keep what lowers the margin.

    Andriushchenko et al. 2020, Algorithm 1 with the distributions of Algorithms 2 (L∞) and 3 (L2),
    on the margin z_y − max_{i≠y} z_i. The first point has vertical stripes of ±epsilon (L∞) or a
    tiling of bumps (L2). Each image has squares of its own, and stays where it first fools.

    Args:
        model: Classifier that returns logits; its gradient is not asked for.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image.
        epsilon: Radius in pixel units of [0, 1], greater than 0.
        norm: "linf" or "l2", of the ball.
        steps: Squares that are tried, at least 1; each asks once, and the first point does.
        p_init: Share of the pixels that the first squares have, in (0, 1].

    Returns:
        The perturbed images, where the attack failed too. Iterations are queries, so that forward
        passes are shared exactly.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    checked_step_size(epsilon, norm, steps, None)
    if not 0 < p_init <= 1:
        raise AdvdetectError(f"The p_init of square must be in (0, 1], not {p_init}.")
    origin, shape = images.detach(), images.shape[1:]
    if norm == "linf":
        start, propose, draws = _stripes(origin, epsilon, generator), _propose_linf(epsilon), 2
    else:
        start, propose, draws = _tiling(origin, epsilon, generator), _propose_l2(epsilon), 5
    value, fools = _judge(model, start, labels)
    state: State = {
        "origin": origin,
        "label": labels,
        "owner": torch.arange(len(labels), device=labels.device),
        "best": start,
        "margin": value,
        "success": fools,
        "iterations": torch.ones_like(labels),
        "draws": value.new_empty(len(labels), 0),
        "done": fools.clone(),
    }
    step_number = 0  # the same for all lanes

    def step(state: State) -> State:
        nonlocal step_number
        number, step_number = step_number, step_number + 1
        if number % _BLOCK == 0:
            drawn = generator[state["owner"]].uniform(_BLOCK, draws + shape[0])
            state["draws"] = drawn.to(origin).view(len(state["owner"]), _BLOCK, draws + shape[0])
        side = side_length(number, steps, p_init, norm, shape)
        candidate = propose(state, side, state["draws"][:, number % _BLOCK])
        value, fools = _judge(model, candidate, state["label"])
        better = (value < state["margin"]) | fools
        state["best"] = torch.where(per_image(better), candidate, state["best"])
        state["margin"] = torch.where(better, value, state["margin"])
        state["success"] = fools
        state["iterations"] += 1
        state["done"] = fools | (number + 1 >= steps)
        return state

    # A query costs more than waiting for the device, and what is asked in vain would count.
    end = iterate(state, step, keep=("best", "success", "iterations"), every=1)
    return AttackResult(
        adversarial=end["best"],
        success=end["success"],
        target=None,
        iterations=end["iterations"],
    )


def side_length(number: int, steps: int, p_init: float, norm: Norm, shape: torch.Size) -> int:
    """Return the side of the squares of a step, in pixels.

    The schedule of section 4.1, for 10,000 steps, is stretched to the number of steps.

    Args:
        number: The step, from 0.
        steps: Number of steps.
        p_init: Share of the pixels that the first squares have.
        norm: In L2 a side is odd and at least 3, where the image has room for that.
        shape: (C, H, W) of the images.
    """
    stretched = number * 10_000 // steps
    share = p_init / 2 ** sum(stretched > mark for mark in _HALVED)
    height, width = shape[1:]
    side = round(math.sqrt(share * height * width))
    side = max(side, 1) if norm == "linf" else max(side, 3) // 2 * 2 + 1
    return min(side, height, width)


def _judge(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (N,) margins of the labels, and whether the class is another: one query."""
    logits = model(images)
    return margin(logits, labels), logits.argmax(dim=1) != labels


def _signs(draws: Tensor) -> Tensor:
    """Return −1 or 1 for each number in [0, 1)."""
    return 1 - 2 * (draws < 0.5).to(draws)


def _stripes(images: Tensor, epsilon: float, generator: SampleGenerator) -> Tensor:
    channels, _, width = images.shape[1:]
    draws = generator.uniform(channels, 1, width).to(images).view(-1, channels, 1, width)
    return (images + epsilon * _signs(draws)).clamp(0, 1)


def _propose_linf(epsilon: float) -> _Propose:
    """Algorithm 2: in a square, ±2 epsilon for each channel, back into the ball and the box."""

    def propose(state: State, side: int, draws: Tensor) -> Tensor:
        best = state["best"]
        within = inside_window(draws[:, :2], side, best.shape[2:])
        change = 2 * epsilon * _signs(draws[:, 2:])[:, :, None, None] * within.to(best)
        return inside(best + change, state["origin"], epsilon, "linf")

    return propose


def _tiling(images: Tensor, epsilon: float, generator: SampleGenerator) -> Tensor:
    """Return the first point in L2: bumps of random signs and orientations, side by side."""
    channels, height, width = images.shape[1:]
    side = max(height // 5, 1)
    corners = tiles(height, width, side)
    numbers = generator.uniform(len(corners), 1 + channels).to(images)
    numbers = numbers.view(len(images), len(corners), 1 + channels)
    delta = torch.zeros_like(images)
    shape = bump(side).to(images)
    for position, (row, column) in enumerate(corners):
        draws = numbers[:, position]
        delta[:, :, row : row + side, column : column + side] = _turned(shape, draws)
    return (images + epsilon * normalize(delta, order=2)).clamp(0, 1)


def _turned(shape: Tensor, draws: Tensor) -> Tensor:
    """Return (N, C, s, s) bumps: as the first draw says turned or not, with a sign per channel."""
    turned = torch.where(per_image(draws[:, 0] > 0.5), shape.T, shape)
    return turned * _signs(draws[:, 1:])[:, :, None, None]


def _propose_l2(epsilon: float) -> _Propose:
    """Algorithm 3: move the perturbation of one square into a bump in another one."""

    def propose(state: State, side: int, draws: Tensor) -> Tensor:
        origin = state["origin"]
        delta = state["best"] - origin
        size = origin.shape[2:]
        first = inside_window(draws[:, :2], side, size)
        second = inside_window(draws[:, 2:4], side, size)
        old = cut(delta, draws[:, :2], side)
        # What is left of the radius goes to all channels alike, beside what both squares held.
        unused = (epsilon**2 - _squares(delta, (1, 2, 3))).clamp_min(0) / delta.shape[1]
        available = (unused + _squares(delta * (first | second), (2, 3))).sqrt()
        new = _turned(bump(side).to(origin), draws[:, 4:])
        new = new + old / (_squares(old, (2, 3)).sqrt() + 1e-12)  # the authors' guard
        new = new / (_squares(new, (2, 3)).sqrt() + 1e-12) * available
        delta = filled(delta * ~second, new, draws[:, :2])
        return (origin + epsilon * normalize(delta, order=2)).clamp(0, 1)

    return propose


def _squares(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    return values.square().sum(dim=dims, keepdim=True)
