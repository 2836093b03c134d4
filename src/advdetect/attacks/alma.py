"""ALMA, an augmented Lagrangian method for adversarial attacks (Rony et al. 2021), in L2."""

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import check_steps, per_image
from advdetect.attacks.hyperplane import rate_for_length
from advdetect.attacks.logits import differentiable_logits, margin, rounding
from advdetect.attacks.losses import logit_gradient
from advdetect.attacks.record import record
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: ρ grows by γ where in M steps no success was found and the constraint did not fall to a share τ.
_GAMMA, _TAU, _CHECK = 1.2, 0.95, 10
#: Limits of the multiplier μ.
_LIMITS = (1e-6, 1e12)
#: What the learning rate falls to after the first success, as a share.
_REDUCTION = 0.01


@torch.no_grad()
def alma(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    steps: int = 1000,
    initial_distance: float = 0.1,
    alpha: float = 0.9,
) -> AttackResult:
    """Descend ‖δ‖₂ + P(y; ρ, μ), whose multiplier μ learns what the constraint y < 0 is worth.

    Rony et al. 2021, "Augmented Lagrangian adversarial attacks", Algorithm 1. The constraint y is
    the margin of the class over the other ones, by z_π1 − z_π3. P is P₂: μy + μρy² + ρ²y³/6 for
    y ≥ 0 and μy / (1 − ρy) below; μ follows P's derivative by an exponential average. Steps are
    those of RMSProp with momentum. The first one is along the constraint alone, and its length sets
    the learning rate, which falls exponentially from the first success on. The nearest success of
    all points is returned.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: Not used; the attack is deterministic.
        steps: Number of steps, at least 1.
        initial_distance: ε, the length for which the learning rate is chosen, in pixel units,
            greater than 0.
        alpha: α of all the averages, in [0, 1).

    Returns:
        The nearest images found; where there is none, the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range, or there are fewer than 3 classes.
    """
    _check(steps, initial_distance, alpha)
    origin = images.detach()
    logits, gradient = differentiable_logits(model, origin)
    violation, slope = _constraint(logits, labels)
    one = torch.ones_like(violation)
    towards = gradient(_derivative(violation, one, one)[:, None] * slope)
    rate = rate_for_length(origin, -towards, initial_distance)
    there = violation < 0
    usable = rate.isfinite()
    state = {
        "origin": origin,
        "image": origin.clone(),
        "square": torch.ones_like(origin),
        "momentum": torch.zeros_like(origin),
        "label": labels,
        "rate": torch.where(usable, rate, 0),
        "multiplier": one,
        "penalty": one.clone(),
        "previous": violation,
        "since": torch.zeros_like(labels),
        "best": origin[:, None].clone(),
        "shortest": torch.where(there, 0, torch.inf).to(origin)[:, None],
        "reached": there,
        "iterations": (~there & usable).long(),
        "done": there | ~usable | (steps == 1),
    }
    _descend(state, towards, state["rate"], alpha)

    def step(state: State) -> State:
        return _step(model, state, steps, alpha)

    every = max(1, steps - 1)  # the first step is taken
    end = iterate(state, step, keep=("best", "shortest", "iterations"), every=every)
    return AttackResult(
        adversarial=end["best"][:, 0],
        success=end["shortest"][:, 0].isfinite(),
        target=None,
        iterations=end["iterations"],
    )


def _check(steps: int, initial_distance: float, alpha: float) -> None:
    check_steps(steps)
    if not initial_distance > 0:
        raise AdvdetectError(
            f"The initial_distance of alma must be greater than 0, not {initial_distance}."
        )
    if not 0 <= alpha < 1:
        raise AdvdetectError(f"The alpha of alma must be in [0, 1), not {alpha}.")


def _constraint(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return y, (N,), below 0 for a success, and its (N, C) derivative by the logits."""
    if logits.shape[1] < 3:
        raise AdvdetectError(f"The attack alma needs at least 3 classes, not {logits.shape[1]}.")

    def ratio(logits: Tensor, labels: Tensor) -> Tensor:
        largest = logits.topk(3, dim=1).values
        ahead = margin(logits, labels) + rounding(logits.detach())
        return ahead / (largest[:, 0] - largest[:, 2] + 1e-8)  # the authors' guard

    return ratio(logits, labels), logit_gradient(ratio, logits, labels)


def _derivative(violation: Tensor, penalty: Tensor, multiplier: Tensor) -> Tensor:
    """Return P₂'(y; ρ, μ), all (N,)."""
    scaled = penalty * violation
    above = multiplier + 2 * multiplier * scaled + penalty * scaled * violation / 2
    return torch.where(violation >= 0, above, multiplier / (1 - scaled.clamp_max(0)).square())


def _step(model: nn.Module, state: State, steps: int, alpha: float) -> State:
    """Look at the lanes' images, adapt ρ and μ, and descend."""
    logits, gradient = differentiable_logits(model, state["image"])
    violation, slope = _constraint(logits, state["label"])
    change = (state["image"] - state["origin"]).flatten(1)
    distance = torch.linalg.vector_norm(change, dim=1)
    found, number = state["reached"], state["iterations"]
    check = (number + 1) % _CHECK == 0
    stuck = check & ~found & (violation >= _TAU * state["previous"])
    penalty = torch.where(stuck, _GAMMA * state["penalty"], state["penalty"])
    follow = _derivative(violation, penalty, state["multiplier"])
    multiplier = state["multiplier"].lerp(follow, 1 - alpha).clamp(*_LIMITS)
    success = violation < 0
    record(state, state["image"], success, [distance])
    reached = found | success
    since = torch.where(found | ~success, state["since"], number)
    shrink = change / distance[:, None].clamp_min(torch.finfo(distance.dtype).tiny)
    leave = gradient(_derivative(violation, penalty, multiplier)[:, None] * slope)
    passed = torch.where(reached, (number - since) / (steps - since), 0)
    _descend(state, shrink.view_as(leave) + leave, state["rate"] * _REDUCTION**passed, alpha)
    return state | {
        "penalty": penalty,
        "multiplier": multiplier,
        "previous": torch.where(check, violation, state["previous"]),
        "since": since,
        "reached": reached,
        "iterations": number + 1,
        "done": number + 1 >= steps,
    }


def _descend(state: State, gradient: Tensor, rate: Tensor, alpha: float) -> None:
    """Take a step of RMSProp with momentum, within the box, in place."""
    square = state["square"].mul_(alpha).addcmul_(gradient, gradient, value=1 - alpha)
    momentum = state["momentum"].mul_(alpha).addcdiv_(gradient, square.sqrt() + 1e-8)
    state["image"] = (state["image"] - per_image(rate) * momentum).clamp(0, 1)
