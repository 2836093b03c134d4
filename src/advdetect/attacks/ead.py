"""Elastic-net attack (Chen et al. 2018)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.balls import NormName
from advdetect.attacks.penalty import (
    attack_by_penalty,
    check_learning_rate,
    hinge,
    l1_norm,
    squared_norm,
    weighted_gradient,
)
from advdetect.attacks.penalty_search import Optimizer, difference
from advdetect.attacks.record import record
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target
from advdetect.errors import AdvdetectError
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator

Rule = Literal["en", "l1"]

#: The norm in which a near success is searched for, by the rule; β is small in the elastic net.
_NORMS: dict[Rule, NormName] = {"en": "l2", "l1": "l1"}

#: As for the attack of Carlini and Wagner, whose loss this is.
_EXCESS = 1.5
#: The shrinkage takes most pixels back at first, so that a run is longer than in L2, and where it
#: starts matters less.
_SETTLED = 100
_CLASS_STEPS = 30


def ead(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    rule: Rule = "en",
    kappa: float = 0.0,
    beta: float = 0.1,
    target: Target | None = None,
    search_steps: int = 9,
    iterations: int = 1000,
    learning_rate: float = 0.01,
) -> AttackResult:
    """Minimise c · f₆(x') + ‖x' − x‖₂² + β ‖x' − x‖₁ by FISTA, from a near success.

    Chen et al. 2018, section 3 and Algorithm 1: from the look-ahead point y a step along the
    gradient of the smooth part, shrinkage by β towards x, and clipping to the box give the next
    iterate x'; then y = x' + k/(k+3) (x' − previous x'). The step length falls as √(1 − k/K). As in
    the authors' code the threshold is β itself, not β times the step length. Success, a margin of
    κ or more, is judged on x'. `advdetect.attacks.penalty_search` says where a run
    starts, and with which c.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets.
        rule: Which of the successful iterates is returned: the one of the smallest ‖x' − x‖₂² +
            β ‖x' − x‖₁ ("en") or of the smallest ‖x' − x‖₁ ("l1").
        kappa: κ, the confidence, at least 0, in logits.
        beta: β, the weight of the L1 norm, at least 0.
        target: How to choose the target, see `choose_target`; None for any wrong class.
        search_steps: Where no success is known at most so many values of c are tried, at least 1.
        iterations: K, at most so many per run, at least 1.
        learning_rate: First step length, greater than 0.

    Returns:
        The nearest images found; where there is none, the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range, or the rule or the target is unknown.
    """
    (result,) = ead_sweep(
        model,
        images,
        labels,
        generator=generator,
        variants=[{"rule": rule, "kappa": kappa}],
        beta=beta,
        target=target,
        search_steps=search_steps,
        iterations=iterations,
        learning_rate=learning_rate,
    )
    return result


def ead_sweep(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    variants: Sequence[Mapping[str, Any]],
    beta: float = 0.1,
    target: Target | None = None,
    search_steps: int = 9,
    iterations: int = 1000,
    learning_rate: float = 0.01,
) -> list[AttackResult]:
    """Run `ead` with several κ in one batch, and both decision rules from the same iterates.

    Args:
        model: See `ead`, as for all that follow but ``variants``.
        images: (N, C, H, W).
        labels: (N,).
        generator: Random targets are the same for every variant.
        variants: One mapping ``{"rule": rule, "kappa": κ}`` per result. The batch has N rows for
            each different κ.
        beta: Weight of the L1 norm.
        target: Kind of target.
        search_steps: Values of c.
        iterations: Per run.
        learning_rate: First step length.

    Returns:
        One result per variant.
    """
    rules = get_args(Rule)
    unknown = {variant["rule"] for variant in variants} - set(rules)
    if unknown:
        raise AdvdetectError(f"The rule of ead must be en or l1, not {', '.join(unknown)}.")
    if not beta >= 0:
        raise AdvdetectError(f"The beta of ead must be at least 0, not {beta}.")
    check_learning_rate(learning_rate)
    loss = hinge(targeted=target is not None)

    def distances(change: Tensor) -> list[Tensor]:
        l1 = l1_norm(change)
        return [squared_norm(change) + beta * l1, l1]

    def pull(change: Tensor) -> Tensor:
        # A threshold of β in a step of a length is that of a weight of β over the length.
        return 2 * squared_norm(change) + beta / learning_rate * l1_norm(change)

    def step(state: State) -> None:
        origin, shift, passed = state["origin"], state["shift"], state["iteration"]
        lead = shift + state["momentum"]
        _, _, gradient = weighted_gradient(model, origin + lead, loss, state)
        share = passed.to(origin.dtype)[:, None, None, None]
        length = learning_rate * (1 - share / iterations).clamp_min(0).sqrt()
        moved = functional.softshrink(lead - length * (gradient + 2 * lead), beta)
        adversarial = (origin + moved).clamp_(0, 1)
        state["shift"] = adversarial - origin
        state["momentum"] = share / (share + 3) * (state["shift"] - shift)

        value, _, success = loss(model(adversarial), state)
        elastic_net, l1 = distances(state["shift"])
        state["objective"] = elastic_net + state["constant"] * value
        record(state, adversarial, success, [elastic_net, l1])

    kappas = list(dict.fromkeys(variant["kappa"] for variant in variants))
    results = attack_by_penalty(
        model,
        images,
        labels,
        loss,
        Optimizer(
            ["momentum"],
            step,
            difference,
            distances=distances,
            pull=pull,
            excess=_EXCESS,
            settled=_SETTLED,
        ),
        generator=generator,
        target=target,
        kappas=kappas,
        search_steps=search_steps,
        iterations=iterations,
        norms=[_NORMS[rule] for rule in rules],
        class_steps=_CLASS_STEPS,
    )
    return [
        results[kappas.index(variant["kappa"])][rules.index(variant["rule"])]
        for variant in variants
    ]
