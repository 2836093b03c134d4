"""The way to a hyperplane within the box [0, 1]."""

import torch
from torch import Tensor

from advdetect.attacks.gradient import Norm


def step_to_hyperplane(points: Tensor, normal: Tensor, gap: Tensor, norm: Norm) -> Tensor:
    """Return the shortest δ with ⟨w, δ⟩ = c that does not lead out of the box.

    min ‖δ‖_p subject to ⟨w, δ⟩ = c and 0 ≤ x + δ ≤ 1 (Croce and Hein 2020, "Minimally distorted
    adversarial examples", section 2.2). Every pixel goes by λ v_i until it meets the box, v = w for
    p = 2 and sign(w) for p = ∞. What that gains, Σ |w_i| min(λ |v_i|, room_i), is linear in λ
    between the points where pixels meet the box, so the λ that gains |c| is found by sorting them.

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
    missing = gap.abs()[:, None] / largest
    room = torch.where(weight > 0, 1 - points.flatten(1), points.flatten(1))
    pace = weight.abs() if norm == "l2" else weight.abs().sign()
    meets = torch.where(pace > 0, room / pace, torch.inf)
    meets, order = meets.sort(dim=1)
    gained = (weight.abs() * room).gather(1, order)
    rate = (weight.abs() * pace).gather(1, order)
    # Of the pixels before each: what they gained; of it and those behind: what they gain per λ.
    before = gained.cumsum(dim=1) - gained
    going = rate.flip(1).cumsum(dim=1).flip(1)
    short = before + meets * going < missing
    met = short.sum(dim=1, keepdim=True).clamp_max(order.shape[1] - 1)
    step = (missing - before.gather(1, met)) / going.gather(1, met)
    moved = torch.minimum((step * pace).nan_to_num(0, posinf=torch.inf), room)
    return (weight.sign() * moved).view_as(points)
