"""Optimisation-based attack (Liu et al. 2017), the "Opt" of Zhao et al. (2019)."""

import torch
from torch import Tensor, nn

from advdetect.attacks.logits import is_reached
from advdetect.attacks.penalty import (
    adam,
    attack_by_penalty,
    check_learning_rate,
    in_l2,
    squared_norm,
    weighted_gradient,
)
from advdetect.attacks.penalty_search import difference
from advdetect.attacks.record import record
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator

#: The cross entropy is not flat beyond the boundary: with a larger c its minimum is farther away.
_EXCESS = 1.0


def opt(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    target: Target | None = "random",
    search_steps: int = 9,
    iterations: int = 1000,
    learning_rate: float = 0.01,
) -> AttackResult:
    """Minimise λ ‖δ‖₂² + L(x + δ, t) over the box by Adam, from a near success.

    Liu et al. 2017, section 2.2.1, equation (3); without a target, L is −log(1 − p_y) as in their
    equation (2). They fix λ; here 1/λ is the constant c of `advdetect.attacks.penalty_search`, at
    which the start would be the minimum, and the nearest success of all iterates is returned. After
    each step δ is put back to where x + δ is in the box.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets.
        target: How to choose t, see `choose_target`; None for any wrong class.
        search_steps: Where no success is known at most so many values of λ are tried, at least 1.
        iterations: At most so many per run, at least 1.
        learning_rate: Of Adam, in pixel units, greater than 0.

    Returns:
        The nearest images found; where there is none, the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range, or the target is unknown.
    """
    check_learning_rate(learning_rate)

    def loss(logits: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        goal = state["goal"]
        wanted = torch.zeros_like(logits, dtype=torch.bool).scatter(1, goal[:, None], True)
        if target is None:
            wanted = ~wanted
        # −log of the probability of the wanted classes: log Σ_all exp z − log Σ_wanted exp z.
        among = logits.masked_fill(~wanted, -torch.inf)
        value = logits.logsumexp(dim=1) - among.logsumexp(dim=1)
        reached = is_reached(logits, goal, targeted=target is not None)
        return value, logits.softmax(dim=1) - among.softmax(dim=1), reached

    def step(state: State) -> None:
        adversarial = (state["origin"] + state["shift"]).clamp_(0, 1)
        change = adversarial - state["origin"]
        state["shift"] = change.clone()
        penalty, success, gradient = weighted_gradient(model, adversarial, loss, state)
        distance = squared_norm(change)
        state["objective"] = distance + penalty
        record(state, adversarial, success, [distance])
        adam(state, gradient + 2 * change, learning_rate)

    ((result,),) = attack_by_penalty(
        model,
        images,
        labels,
        loss,
        in_l2(["mean", "square"], step, difference, _EXCESS),
        generator=generator,
        target=target,
        kappas=[0.0],
        search_steps=search_steps,
        iterations=iterations,
    )
    return result
