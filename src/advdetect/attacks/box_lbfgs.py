"""L-BFGS in the box [0, 1], for many independent problems at once.

Minimises f_n(x_n) for the lanes n of a batch, each with its own history, step length and end. One
call of `advance` evaluates every lane's function once, at the lane's own next point: no lane waits
for the line search of another, and the host never waits for the device.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from advdetect.lanes import State

#: Maps (lanes, D) points and the state to ``value`` (lanes,), ``gradient`` (lanes, D) and what else
#: is to be remembered of the point that a lane is at; all of it has an entry in the state.
Objective = Callable[[Tensor, State], State]

# Share of the decrease promised by the slope that a step must bring (Armijo's condition).
_SUFFICIENT = 1e-4
# A rejected step is shortened by a factor in this range.
_SHORTEST, _LONGEST = 0.1, 0.5


def begin(points: Tensor, memory: int) -> State:
    """Return the state of lanes that start at the given points.

    Args:
        points: (lanes, D) in [0, 1].
        memory: m, the number of steps, with their gradient changes, that a lane remembers; at
            least 1. They take 2 · m · lanes · D numbers.

    Returns:
        The state for `advance`. For the caller: ``point`` (lanes, D), the iterate, its ``value``
        and ``gradient`` and what else the objective returns; ``accepted``, whether the last
        evaluation led to a new iterate; ``converged``.
    """
    lanes, size = points.shape
    history = points.new_zeros(lanes, memory, size)
    unknown = points.new_full((lanes,), torch.inf)
    never = torch.zeros_like(unknown, dtype=torch.bool)
    return {
        "point": points,
        "value": unknown,  # any value is less
        "gradient": torch.zeros_like(points),
        "trial": points,
        "direction": torch.zeros_like(points),
        "length": torch.ones_like(unknown),
        "steps": history,  # newest first, zero where there is none
        "changes": history.clone(),
        "accepted": never,
        "converged": never,
    }


def restart(state: State, lanes: Tensor, points: Tensor) -> None:
    """Let some lanes forget what they know and start anew, after their function has changed.

    Args:
        state: Changed in place.
        lanes: (lanes,) bool, those that start anew.
        points: (lanes, D) in [0, 1], where they start.
    """
    for name in ("point", "trial"):
        state[name] = _choose(lanes, points, state[name])
    for name in ("steps", "changes"):
        state[name] = state[name].masked_fill(lanes[:, None, None], 0)
    state["value"] = state["value"].masked_fill(lanes, torch.inf)
    state["converged"] = state["converged"] & ~lanes


def advance(state: State, objective: Objective, tolerance: float) -> State:
    """Evaluate the function at each lane's next point, move there if it is good, and plan the next.

    Projected quasi-Newton with an active set (Bertsekas 1982, "Projected Newton methods for
    optimization problems with simple constraints"): variables at a bound that the gradient pushes
    against are fixed, the two-loop recursion (Nocedal 1980) on the others gives the direction, and
    Armijo's condition is asked along its projection on the box. Where a line search ends without a
    point, the history is dropped and the gradient followed, before the lane gives up.

    Args:
        state: From `begin`, with the entries that the objective needs; converged lanes do not move.
        objective: What to minimise.
        tolerance: A lane has converged where a step lowers, or promises to lower, its value by no
            more than this share of max(|value|, 1), or where the free gradient is zero.

    Returns:
        The state.
    """
    value, trial = state["value"], state["trial"]
    found = objective(trial, state)
    step = trial - state["point"]
    change = found["gradient"] - state["gradient"]
    promised = (state["gradient"] * step).sum(dim=1)
    accepted = (found["value"] <= value + _SUFFICIENT * promised) & ~state["converged"]
    negligible = tolerance * torch.where(accepted, found["value"], value).abs().clamp_min(1)
    settled = accepted & (value - found["value"] <= negligible)
    stuck = ~accepted & ~(promised < -negligible)  # true for NaN, too
    given_up = stuck & ~state["steps"][:, 0].any(dim=1)

    for name, newest in (("steps", step), ("changes", change)):
        shifted = torch.cat([newest[:, None], state[name][:, :-1]], dim=1)
        history = _choose(accepted & value.isfinite(), shifted, state[name])
        state[name] = history.masked_fill(stuck[:, None, None], 0)
    for name, entry in {**found, "point": trial}.items():
        state[name] = _choose(accepted, entry, state[name])
    # The minimum of the parabola through both values with the slope between them.
    shorter = -promised / (2 * (found["value"] - value - promised))
    shorter = shorter.nan_to_num(_SHORTEST).clamp(_SHORTEST, _LONGEST)
    anew = accepted | stuck
    state["direction"] = _choose(anew, _direction(state), state["direction"])
    state["length"] = torch.where(anew, 1, state["length"] * shorter)
    state["trial"] = (state["point"] + state["length"][:, None] * state["direction"]).clamp(0, 1)
    state["accepted"] = accepted
    ended = settled | given_up | ~state["direction"].any(dim=1)
    state["converged"] = state["converged"] | ended
    return state


def _choose(lanes: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the new rows at the given lanes and the old ones elsewhere."""
    return torch.where(lanes.view(-1, *[1] * (old.ndim - 1)), new, old)


def _direction(state: State) -> Tensor:
    """Return each lane's quasi-Newton direction, (lanes, D), zero where a variable is fixed.

    Curvature is measured on the free variables; pairs that have none there are left out.
    """
    point, gradient, steps = state["point"], state["gradient"], state["steps"]
    fixed = ((point <= 0) & (gradient > 0)) | ((point >= 1) & (gradient < 0))
    changes = state["changes"].masked_fill(fixed[:, None], 0)
    curvature = (steps * changes).sum(dim=2)
    square = changes.square().sum(dim=2)
    usable = curvature > torch.finfo(point.dtype).eps * square
    inverse = torch.where(usable, 1 / curvature, 0)

    direction = -gradient.masked_fill(fixed, 0)
    # Without curvature, a first step of length one at most.
    plain = 1 / torch.linalg.vector_norm(direction, dim=1).clamp_min(1)
    newest = usable.to(torch.uint8).argmax(dim=1, keepdim=True)
    scale = (curvature / square).gather(1, newest).squeeze(1)
    scale = torch.where(usable.any(dim=1), scale, plain)

    shares = []
    for pair in range(steps.shape[1]):
        shares.append(inverse[:, pair] * (steps[:, pair] * direction).sum(dim=1))
        direction = direction - shares[pair][:, None] * changes[:, pair]
    direction = direction * scale[:, None]
    for pair in reversed(range(steps.shape[1])):
        share = shares[pair] - inverse[:, pair] * (changes[:, pair] * direction).sum(dim=1)
        direction = direction + share[:, None] * steps[:, pair]
    return direction.masked_fill(fixed, 0)
