"""L2 attack of Carlini and Wagner (2017)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.attacks.penalty import (
    adam,
    attack_by_penalty,
    check_learning_rate,
    hinge,
    in_l2,
    squared_norm,
    weighted_gradient,
)
from advdetect.attacks.record import record
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator

#: Black and white are put at tanh(w) = ∓0.99, where w can still be moved: at the authors' 0.999999
#: Adam needs some 700 steps to get a black pixel of MNIST away from black.
_EDGE = 0.99
#: At exactly the c of a success on the boundary the hinge holds a run only just; above it the
#: minimum is the same point.
_EXCESS = 1.5


def cw_l2(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    kappa: float = 0.0,
    target: Target | None = None,
    search_steps: int = 9,
    iterations: int = 1000,
    learning_rate: float = 0.01,
) -> AttackResult:
    """Minimise ‖x' − x‖₂² + c · f₆(x') by Adam in tanh space, from a near success.

    Carlini and Wagner 2017, section VI.A. Success is a margin of κ or more; the nearest success of
    all iterates is returned. `advdetect.attacks.penalty_search`
    says where a run starts, and with which c.

    The box: the authors' x' = (tanh w + 1) / 2 can only start near a black or white pixel. Here
    x' = (tanh(w) / 0.99 + 1) / 2, which starts at x exactly, and w is kept where x' is in [0, 1].

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets.
        kappa: κ, the confidence, at least 0, in logits.
        target: How to choose the target, see `choose_target`; None for any wrong class.
        search_steps: Where no success is known at most so many values of c are tried, at least 1.
        iterations: At most so many per run, at least 1.
        learning_rate: Of Adam, greater than 0.

    Returns:
        The nearest images found; where there is none, the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range, or the target is unknown.
    """
    (result,) = cw_l2_sweep(
        model,
        images,
        labels,
        generator=generator,
        variants=[{"kappa": kappa}],
        target=target,
        search_steps=search_steps,
        iterations=iterations,
        learning_rate=learning_rate,
    )
    return result


def cw_l2_sweep(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    variants: Sequence[Mapping[str, Any]],
    target: Target | None = None,
    search_steps: int = 9,
    iterations: int = 1000,
    learning_rate: float = 0.01,
) -> list[AttackResult]:
    """Run `cw_l2` with several values of κ in one batch, each as if it were alone.

    Args:
        model: See `cw_l2`, as for all that follow but ``variants``.
        images: (N, C, H, W).
        labels: (N,).
        generator: Random targets are the same for every κ.
        variants: One mapping ``{"kappa": κ}`` per result. The batch has N rows for each.
        target: Kind of target.
        search_steps: Values of c.
        iterations: Per run.
        learning_rate: Of Adam.

    Returns:
        One result per variant.
    """
    check_learning_rate(learning_rate)
    loss = hinge(targeted=target is not None)
    edge = torch.atanh(torch.tensor(_EDGE, dtype=torch.float64)).item()

    def w_of(images: Tensor) -> Tensor:
        return torch.atanh(_EDGE * (2 * images - 1))

    def shift_to(state: State, images: Tensor) -> Tensor:
        return w_of(images) - w_of(state["origin"])

    def step(state: State) -> None:
        start = w_of(state["origin"])
        w = (start + state["shift"]).clamp_(-edge, edge)
        state["shift"] = w - start
        tanh = w.tanh()
        adversarial = ((tanh / _EDGE + 1) / 2).clamp_(0, 1)
        penalty, success, gradient = weighted_gradient(model, adversarial, loss, state)
        difference = adversarial - state["origin"]
        distance = squared_norm(difference)
        state["objective"] = distance + penalty
        record(state, adversarial, success, [distance])
        by_w = (gradient + 2 * difference) * (1 - tanh.square()) / (2 * _EDGE)
        adam(state, by_w, learning_rate)

    results = attack_by_penalty(
        model,
        images,
        labels,
        loss,
        in_l2(["mean", "square"], step, shift_to, _EXCESS),
        generator=generator,
        target=target,
        kappas=[variant["kappa"] for variant in variants],
        search_steps=search_steps,
        iterations=iterations,
    )
    return [result for (result,) in results]
