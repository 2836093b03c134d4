"""Minimal-norm attacks by a penalty: minimise distance + c · loss, and search for c.

What Carlini and Wagner (2017, section V) introduced and others took over. Every lane (an image with
one value of κ) has its own c, its own optimiser state and its own end, so a result depends neither
on the batch nor on the other values of a sweep. `advdetect.attacks.penalty_search` has the search.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advdetect.attacks.logits import differentiable_logits, rounding
from advdetect.attacks.penalty_search import Optimizer, search
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import choose_target
from advdetect.errors import AdvdetectError
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator

#: The first c is kept within these, where the gradient at the image says little.
_LIMITS_OF_FIRST = (1e-3, 1e6)

#: Maps logits (lanes, C) and the lanes to the (lanes,) loss that c weighs, its (lanes, C)
#: derivative by the logits, and (lanes,) bool: success.
Loss = Callable[[Tensor, State], tuple[Tensor, Tensor, Tensor]]


@torch.no_grad()
def attack_by_penalty(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    loss: Loss,
    optimizer: Optimizer,
    *,
    generator: SampleGenerator,
    target: str | None,
    kappas: Sequence[float],
    rules: int,
    search_steps: int,
    iterations: int,
) -> list[list[AttackResult]]:
    """Run an attack with every κ, all in one batch.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        loss: What c weighs.
        optimizer: What moves the images.
        generator: One stream per image, for random targets.
        target: How to choose the target, see `choose_target`; None for any wrong class.
        kappas: Values of κ, each at least 0.
        rules: In how many ways `record` chooses the best of an image's successes.
        search_steps: At most so many values of c are tried, at least 1.
        iterations: At most so many per run, at least 1; rounded up to a multiple of a twentieth.

    Returns:
        For every κ and rule a result; where the attack failed the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    _check_parameters(kappas, search_steps, iterations)
    targets = None
    if target is not None:
        targets = choose_target(target, model(images), labels, generator)
    goal = labels if targets is None else targets
    count = len(kappas)
    state = _start(
        images.repeat_interleave(count, dim=0),
        goal.repeat_interleave(count),
        torch.tensor(kappas, dtype=images.dtype, device=images.device).repeat(len(images)),
        rules,
    )
    for name in ("shift", *optimizer.moments):
        state[name] = torch.zeros_like(state["origin"])
    _look_at_origin(model, loss, state)
    end = search(model, state, optimizer, search_steps, iterations)

    def result(variant: int, rule: int) -> AttackResult:
        rows = slice(variant, None, count)
        return AttackResult(
            adversarial=end["best"][rows, rule],
            success=end["shortest"][rows, rule].isfinite(),
            target=targets,
            iterations=end["iterations"][rows],
        )

    return [[result(variant, rule) for rule in range(rules)] for variant in range(count)]


def hinge(targeted: bool) -> Loss:
    """Return Carlini and Wagner's loss f₆ = max(κ − margin, 0), for lanes with goal and kappa.

    The margin is z_t − max_{i≠t} z_i for a target t and max_{i≠y} z_i − z_y for a class y to be
    left (2017, section V.A and equation (8), there shifted by κ); a class that is passed over does
    not count as i. Success is f₆ = 0. κ is taken a hair larger, so that rounding in another batch
    does not undo a success.
    """

    def loss(logits: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        goal = state["goal"][:, None]
        passed_over = state["passed_over"][:, None]
        others = logits.scatter(1, goal, -torch.inf).scatter(1, passed_over, -torch.inf)
        rival = others.argmax(dim=1, keepdim=True)
        sign = 1 if targeted else -1
        ahead = sign * (logits.gather(1, goal) - logits.gather(1, rival)).squeeze(1)
        missing = state["kappa"] + rounding(logits) - ahead
        slope = sign * (missing > 0).to(logits.dtype)[:, None]
        derivative = torch.zeros_like(logits).scatter(1, goal, -slope).scatter(1, rival, slope)
        return missing.clamp_min(0), derivative, missing <= 0

    return loss


def record(state: State, candidate: Tensor, success: Tensor, distances: Sequence[Tensor]) -> None:
    """Take over the successful candidates that are nearer than the best so far, by each rule.

    Args:
        state: Lanes, changed in place.
        candidate: (lanes, C, H, W).
        success: (lanes,) bool.
        distances: One (lanes,) tensor per rule.
    """
    state["reached"] |= success
    for rule, distance in enumerate(distances):
        best, shortest = state["best"][:, rule], state["shortest"][:, rule]
        better = success & (distance < shortest)
        shortest.copy_(torch.where(better, distance, shortest))
        best.copy_(torch.where(better[:, None, None, None], candidate, best))


def weighted_gradient(
    model: nn.Module, images: Tensor, loss: Loss, state: State
) -> tuple[Tensor, Tensor, Tensor]:
    """Return c · loss, success, and the gradient of c · loss by the (lanes, C, H, W) images."""
    logits, gradient = differentiable_logits(model, images)
    value, derivative, success = loss(logits, state)
    constant = state["constant"]
    return constant * value, success, gradient(constant[:, None] * derivative)


def squared_norm(difference: Tensor) -> Tensor:
    """Return the (N,) squared L2 norms of (N, …) differences."""
    return difference.flatten(1).square().sum(dim=1)


def adam(state: State, gradient: Tensor, learning_rate: float) -> None:
    """Move ``shift`` by one step of Adam (Kingma and Ba 2015), with moments ``mean``, ``square``.

    Args:
        state: Lanes, changed in place; ``iteration`` counts the steps of the run before this one.
        gradient: (lanes, C, H, W).
        learning_rate: Length of a step.
    """
    count = (state["iteration"] + 1).to(gradient.dtype).view(-1, 1, 1, 1)
    mean = state["mean"].lerp_(gradient, 0.1)
    square = state["square"].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
    scale = (square / (1 - 0.999**count)).sqrt_().add_(1e-8)
    state["shift"].addcdiv_(mean / (1 - 0.9**count), scale, value=-learning_rate)


def check_learning_rate(learning_rate: float) -> None:
    """Raise `AdvdetectError` if the learning rate is not greater than 0."""
    if not learning_rate > 0:
        raise AdvdetectError(
            f"The learning_rate of an attack must be greater than 0, not {learning_rate}."
        )


def _check_parameters(kappas: Sequence[float], search_steps: int, iterations: int) -> None:
    if min(kappas) < 0:
        raise AdvdetectError(f"The kappa of an attack must be at least 0, not {min(kappas)}.")
    if min(search_steps, iterations) < 1:
        raise AdvdetectError(
            "The search_steps and iterations of an attack must be at least 1, "
            f"not {search_steps} and {iterations}."
        )


def _start(origin: Tensor, goal: Tensor, kappa: Tensor, rules: int) -> State:
    """Return the lanes before the first run."""
    zero = origin.new_zeros(len(origin))
    none = torch.zeros_like(goal)
    return {
        "origin": origin,
        "goal": goal,
        "passed_over": goal.clone(),  # a class that is no rival in this run
        "kappa": kappa,
        "constant": zero,
        "lower": zero.clone(),  # the largest c that has failed
        "upper": zero + torch.inf,  # the smallest c that has succeeded
        "objective": zero.clone(),
        "previous": zero + torch.inf,  # objective at the last check of this run
        "reached": none.bool(),  # a success in this run
        "phase": none.clone(),
        "runs": none.clone(),
        "iteration": none.clone(),  # of this run
        "iterations": none.clone(),
        "done": none.bool(),
        "best": origin[:, None].repeat(1, rules, 1, 1, 1),
        "shortest": (zero + torch.inf)[:, None].repeat(1, rules),
    }


def _look_at_origin(model: nn.Module, loss: Loss, state: State) -> None:
    """Set the first c, and end the lanes whose image is a success as it is.

    2 · loss / ‖gradient‖² is the c from which on the penalty of a linear loss is exact.
    """
    logits, gradient = differentiable_logits(model, state["origin"])
    value, derivative, success = loss(logits, state)
    exact = 2 * value / squared_norm(gradient(derivative))
    state["constant"] = exact.nan_to_num(0).clamp(*_LIMITS_OF_FIRST)
    state["done"] = success
    state["shortest"].masked_fill_(success[:, None], 0)
