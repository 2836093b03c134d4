"""Minimal-norm attacks by a penalty: minimise distance + c · loss from a success that is near.

What Carlini and Wagner (2017, section V) introduced and others took over. Every lane (an image with
one value of κ) has its own c, its own optimiser state and its own end, so a result depends neither
on the batch nor on the other values of a sweep. `class_search` finds where a lane starts, and
`penalty_search` has its runs.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advdetect.attacks.balls import NormName
from advdetect.attacks.class_search import STEPS, NearSuccesses, search_classes
from advdetect.attacks.logits import differentiable_logits, lead, rounding
from advdetect.attacks.penalty_search import Loss, Optimizer, search
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import choose_target
from advdetect.errors import AdvdetectError
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator


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
    search_steps: int,
    iterations: int,
    norms: Sequence[NormName] = ("l2",),
    class_steps: int = STEPS,
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
        search_steps: Where no success is known at most so many values of c are tried, at least 1.
        iterations: At most so many per run, at least 1; rounded up to a multiple of a fortieth.
        norms: For each rule by which `record` chooses the best of an image's successes, the norm in
            which a near success is searched for before the first run.
        class_steps: Steps towards each class before the first run, at least 1.

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
    kappa = torch.tensor(kappas, dtype=images.dtype, device=images.device).repeat(len(images))
    near = [
        search_classes(
            model,
            images,
            goal,
            kappas,
            generator=generator,
            targeted=targets is not None,
            norm=norm,
            steps=class_steps,
        )
        for norm in norms
    ]
    origin, goal = (values.repeat_interleave(count, dim=0) for values in (images, goal))
    state = _start(origin, goal, kappa, near, optimizer)
    end = search(model, state, loss, optimizer, search_steps, iterations)

    def result(variant: int, rule: int) -> AttackResult:
        rows = slice(variant, None, count)
        return AttackResult(
            adversarial=end["best"][rows, rule],
            success=end["shortest"][rows, rule].isfinite(),
            target=targets,
            iterations=end["iterations"][rows],
        )

    return [[result(variant, rule) for rule in range(len(norms))] for variant in range(count)]


def hinge(targeted: bool) -> Loss:
    """Return Carlini and Wagner's loss f₆ = max(κ − margin, 0), for lanes with goal and kappa.

    The margin is z_t − max_{i≠t} z_i for a target t and max_{i≠y} z_i − z_y for a class y to be
    left (2017, section V.A and equation (8), there shifted by κ). Success is f₆ = 0.
    κ is taken a hair larger, so that rounding in another batch does not undo a success.
    """

    def loss(logits: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        goal = state["goal"][:, None]
        rival = logits.scatter(1, goal, -torch.inf).argmax(dim=1, keepdim=True)
        sign = 1 if targeted else -1
        missing = state["kappa"] + rounding(logits) - lead(logits, state["goal"], targeted)
        slope = sign * (missing > 0).to(logits.dtype)[:, None]
        derivative = torch.zeros_like(logits).scatter(1, goal, -slope).scatter(1, rival, slope)
        return missing.clamp_min(0), derivative, missing <= 0

    return loss


def in_l2(
    moments: Sequence[str],
    step: Callable[[State], None],
    shift_to: Callable[[State, Tensor], Tensor],
    excess: float,
) -> Optimizer:
    """Return an optimizer whose steps go down the squared L2 norm; for the rest see `Optimizer`."""
    return Optimizer(
        moments,
        step,
        shift_to,
        distances=lambda change: [squared_norm(change)],
        pull=lambda change: 2 * squared_norm(change),
        excess=excess,
        settled=50,
    )


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


def l1_norm(difference: Tensor) -> Tensor:
    """Return the (N,) L1 norms of (N, …) differences."""
    return difference.flatten(1).abs().sum(dim=1)


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


def _start(
    origin: Tensor,
    goal: Tensor,
    kappa: Tensor,
    near: Sequence[NearSuccesses],
    optimizer: Optimizer,
) -> State:
    """Return the lanes before the first run; those whose image is a success as it is are done."""
    zero, none = origin.new_zeros(len(origin)), torch.zeros_like(goal)
    there = near[0].distance[:, 0] == 0
    starts = torch.stack([found.image[:, 0] for found in near], dim=1)
    known = torch.stack([found.distance[:, 0].isfinite() for found in near], dim=1)
    # Where the search in one norm found nothing, its run starts from what another one found.
    rows, first = torch.arange(len(goal), device=goal.device), known.int().argmax(dim=1)
    return {
        "origin": origin,
        "goal": goal,
        "kappa": kappa,
        "constant": zero,
        "objective": zero.clone(),
        "previous": zero + torch.inf,  # objective at the last check of this run
        "runs": none.clone(),
        "iteration": none.clone(),  # of this run
        "iterations": torch.stack([found.iterations for found in near]).sum(dim=0),
        "done": there,
        "best": origin[:, None].repeat(1, len(near), 1, 1, 1),
        "shortest": torch.where(there, 0, zero + torch.inf)[:, None].repeat(1, len(near)),
        "starts": torch.where(known[:, :, None, None, None], starts, starts[rows, first][:, None]),
        "known": known.any(dim=1),
    } | {name: torch.zeros_like(origin) for name in ("shift", *optimizer.moments)}
