"""Ways within the box [0, 1]: to a hyperplane, and of a given length."""

import torch
from torch import Tensor

from advdetect.attacks.balls import room_along
from advdetect.attacks.gradient import Norm


def step_to_hyperplane(points: Tensor, normal: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """Return the shortest δ with ⟨w, δ⟩ = c that does not lead out of the box.

    min ‖δ‖_p subject to ⟨w, δ⟩ = c and 0 ≤ x + δ ≤ 1 (Croce and Hein 2020, "Minimally distorted
    adversarial examples", section 2.2). Every pixel goes by λ v_i until it meets the box, v = w for
    p = 2 and sign(w) for p = ∞.

    Args:
        points: (N, C, H, W) x, in the box.
        normal: (N, C, H, W) w.
        gap: (N,) c; below 0 the hyperplane lies on the other side.
        norm: "l2" or "linf", the norm that is least.

    Returns:
        (N, C, H, W). Where the hyperplane does not meet the box, all pixels go to its edge; where w
        is 0, none moves.
    """
    weight = normal.flatten(1) * torch.where(gap < 0, -1, 1).to(normal)[:, None]
    # Of another scale it is the same problem; the squares of small gradients would underflow.
    largest = weight.abs().amax(dim=1, keepdim=True)
    weight = torch.where(largest > 0, weight / largest, 0)
    room = room_along(weight, points.flatten(1))
    pace = weight.abs() if norm == "l2" else weight.abs().sign()
    time = _time_to_gain(weight.abs(), pace, room, gap.abs()[:, None] / largest)
    moved = torch.minimum((time * pace).nan_to_num(0, posinf=torch.inf), room)
    return (weight.sign() * moved).view_as(points)


def rate_for_length(points: Tensor, direction: Tensor, length: float) -> Tensor:
    """Return the η with ‖clip(x + η v) − x‖₂ = length.

    Args:
        points: (N, C, H, W) x, in the box.
        direction: (N, C, H, W) v.
        length: In pixel units, greater than 0.

    Returns:
        (N,). Where no step within the box is that long, an η that leads to its edge; where v is 0,
        infinite.
    """
    way = direction.flatten(1)
    largest = way.abs().amax(dim=1, keepdim=True)
    way = torch.where(largest > 0, way / largest, 0)
    square, room = way.square(), room_along(way, points.flatten(1)).square()
    total = torch.full_like(largest, length**2)
    return (_time_to_gain(torch.ones_like(way), square, room, total).sqrt() / largest).squeeze(1)


def _time_to_gain(worth: Tensor, pace: Tensor, room: Tensor, total: Tensor) -> Tensor:
    """Return the λ with Σ_i worth_i min(λ pace_i, room_i) = total.

    The sum is linear in λ between the times at which pixels meet the box: they are sorted.

    Args:
        worth: (N, pixels), at least 0.
        pace: (N, pixels), at least 0.
        room: (N, pixels), at least 0.
        total: (N, 1), at least 0.

    Returns:
        (N, 1). Where the total is out of reach, a λ at which all have met the box.
    """
    meets, order = torch.where(pace > 0, room / pace, torch.inf).sort(dim=1)
    gained, rate = (worth * room).gather(1, order), (worth * pace).gather(1, order)
    # Of the pixels before each: what they gained; of it and those behind: what they gain per λ.
    before = gained.cumsum(dim=1) - gained
    going = rate.flip(1).cumsum(dim=1).flip(1)
    short = before + meets * going < total
    met = short.sum(dim=1, keepdim=True).clamp_max(order.shape[1] - 1)
    return (total - before.gather(1, met)) / going.gather(1, met)
