"""DDN, decoupled direction and norm (Rony et al. 2019): a least perturbation in L2."""

import torch
from torch import Tensor, nn

from advdetect.attacks.balls import BALLS
from advdetect.attacks.decoupled import (
    adapt_radius,
    cosine_fall,
    lanes_at,
    look,
    step_in_ball,
)
from advdetect.attacks.gradient import check_steps
from advdetect.attacks.logits import is_reached
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target, choose_target
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Length of the first step and what it falls to, in pixel units (section 5 of the paper).
_LENGTH = (1.0, 0.01)


@torch.no_grad()
def ddn(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    target: Target | None = None,
    steps: int = 100,
    initial_norm: float = 1.0,
    gamma: float = 0.05,
) -> AttackResult:
    """Step up the cross entropy on a sphere that shrinks after a success and grows otherwise.

    Rony et al. 2019, Algorithm 1. δ ← δ + α ∇L/‖∇L‖₂ (down the loss of a target), with α falling
    from 1 to 0.01 along a cosine; ε ← (1 − γ) ε if the last point is a success and (1 + γ) ε if
    not; x' = clip(x + ε δ/‖δ‖₂), and δ ← x' − x as in the authors' code. The nearest success of
    all points is returned. Pixels are not rounded to 8 bits, which the authors' code can do.

    The gradient is that of the log-odds, which has the direction of the cross entropy's and does
    not vanish on a confident model (`gradient.error_log_odds`).

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets.
        target: How to choose the target, see `choose_target`; None for any wrong class.
        steps: Number of steps, at least 1.
        initial_norm: First ε in pixel units, greater than 0.
        gamma: γ, share by which ε changes, in (0, 1).

    Returns:
        The nearest images found; where there is none, the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range, or the target is unknown.
    """
    _check(steps, initial_norm, gamma)
    ball, origin = BALLS["l2"], images.detach()
    logits = model(origin)
    targets = None if target is None else choose_target(target, logits, labels, generator)
    sign = -1 if targets is None else 1

    def aim(logits: Tensor, state: State) -> tuple[Tensor, Tensor]:
        goal = state["goal"][:, None]
        others = logits.scatter(1, goal, -torch.inf).softmax(dim=1)
        reached = is_reached(logits, state["goal"], targeted=targets is not None)
        return sign * (-others).scatter(1, goal, 1), reached

    state = lanes_at(ball, origin, origin, torch.full_like(logits[:, 0], initial_norm)) | {
        "goal": labels if targets is None else targets,
        "iterations": torch.zeros_like(labels),
    }
    there = aim(logits, state)[1]
    state["shortest"].masked_fill_(there[:, None], 0)
    state["done"] = there

    def step(state: State) -> State:
        progress = state["iterations"].to(origin.dtype) / steps
        direction, success = look(model, ball, state, aim)
        adapt_radius(state, success, gamma)
        step_in_ball(ball, state, direction, cosine_fall(*_LENGTH, progress))
        iterations = state["iterations"] + 1
        return state | {"iterations": iterations, "done": iterations >= steps}

    end = iterate(state, step, keep=("best", "shortest", "iterations"), every=steps)
    return AttackResult(
        adversarial=end["best"][:, 0],
        success=end["shortest"][:, 0].isfinite(),
        target=targets,
        iterations=end["iterations"],
    )


def _check(steps: int, initial_norm: float, gamma: float) -> None:
    check_steps(steps)
    if not initial_norm > 0:
        raise AdvdetectError(f"The initial_norm of ddn must be greater than 0, not {initial_norm}.")
    if not 0 < gamma < 1:
        raise AdvdetectError(f"The gamma of ddn must be in (0, 1), not {gamma}.")
