"""Box-constrained L-BFGS with a search for the trade-off constant (Szegedy et al. 2013)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks import box_lbfgs
from advdetect.attacks.logits import differentiable_logits, is_reached
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target, choose_target
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Steps between two looks at which images are done.
_EVERY = 10


@torch.no_grad()
def lbfgs(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    target: Target = "random",
    search_steps: int = 12,
    iterations: int = 50,
    initial_constant: float = 1.0,
    tolerance: float = 1e-4,
    memory: int = 5,
) -> AttackResult:
    """Minimise c‖δ‖₂² + L(x + δ, t) over the box, for the largest c that still reaches class t.

    Szegedy et al. 2013, section 4.1: min c‖δ‖ + L(x + δ, t), L the cross entropy, over the box by
    L-BFGS, with a line search on c. The search is for the largest c, the weight of the norm, whose
    minimiser is classified as t (the paper says the smallest, as if c were the loss's weight).
    c changes by powers of ten until one value succeeds and another fails; from then on the
    geometric mean of the two is tried. Each minimisation starts from the minimiser of the last c
    that succeeded, before there is one from the image. The result is the nearest of all iterates
    that are classified as t.

    The norm is squared, which makes it smooth at δ = 0 and loses no minimiser: where δ* minimises
    c‖δ‖ + L, every δ has L(δ) ≥ L(δ*) − c(‖δ‖ − ‖δ*‖) ≥ L(δ*) − c(‖δ‖² − ‖δ*‖²) / 2‖δ*‖, the
    second since a square root lies below its tangents; so δ* minimises c'‖δ‖² + L, too, with
    c' = c / 2‖δ*‖. The converse fails: the square reaches norms that the paper's form jumps over.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for the random targets.
        target: How to choose t, see `choose_target`.
        search_steps: Values of c that are tried, at least 1. With two of them to find its power of
            ten, c is known to a factor of 10^(2^−(search_steps − 2)), and on a linear model the
            norm is off by no more than c is.
        iterations: Evaluations of the model at most for one value of c, at least 1.
        initial_constant: First c, greater than 0, in nats per squared pixel unit.
        tolerance: A minimisation ends where a step lowers the objective by no more than this share
            of it, or of 1 where it is smaller; at least 0.
        memory: Steps that L-BFGS remembers, at least 1; it needs 2 · memory copies of the images.

    Returns:
        The nearest images found that are classified as t; where there is none, the image unchanged.

    Raises:
        AdvdetectError: The target is unknown, or a parameter is outside its range.
    """
    _check(search_steps, iterations, initial_constant, tolerance, memory)
    targets = choose_target(target, model(images), labels, generator)
    state = _start(images.detach().flatten(1), targets, initial_constant, memory)

    def objective(points: Tensor, state: State) -> State:
        logits, gradient = differentiable_logits(model, points.view(-1, *images.shape[1:]))
        goal, constant = state["target"], state["constant"]
        shift = points - state["origin"]
        distance = shift.square().sum(dim=1)
        loss = functional.cross_entropy(logits, goal, reduction="none")
        slope = logits.softmax(dim=1) - functional.one_hot(goal, logits.shape[1])
        return {
            "value": constant * distance + loss,
            "gradient": 2 * constant[:, None] * shift + gradient(slope).flatten(1),
            "distance": distance,
            "reached": is_reached(logits, goal, targeted=True),
        }

    def step(state: State) -> State:
        running = ~state["done"]
        state = box_lbfgs.advance(state, objective, tolerance)
        state["iterations"] = state["iterations"] + (running & state["accepted"])
        _record(state, running)
        state["evaluations"] = state["evaluations"] + 1
        _next_constant(state, state["converged"] | (state["evaluations"] >= iterations))
        nothing_nearer = state["best_distance"] == 0
        state["done"] = state["done"] | nothing_nearer | (state["searches"] >= search_steps)
        return state

    end = iterate(state, step, keep=("best", "best_distance", "iterations"), every=_EVERY)
    return AttackResult(
        adversarial=end["best"].view_as(images),
        success=end["best_distance"].isfinite(),
        target=targets,
        iterations=end["iterations"],
    )


def _check(
    search_steps: int, iterations: int, initial_constant: float, tolerance: float, memory: int
) -> None:
    if min(search_steps, iterations, memory) < 1:
        raise AdvdetectError(
            "The search_steps, iterations and memory of lbfgs must be at least 1, "
            f"not {search_steps}, {iterations} and {memory}."
        )
    if not (initial_constant > 0 and tolerance >= 0):
        raise AdvdetectError(
            "The initial_constant of lbfgs must be greater than 0 and its tolerance at least 0, "
            f"not {initial_constant} and {tolerance}."
        )


def _start(origin: Tensor, targets: Tensor, constant: float, memory: int) -> State:
    """Return the state of all (N, D) images before the first evaluation."""
    zero = origin.new_zeros(len(origin))
    none = torch.zeros_like(targets)
    return box_lbfgs.begin(origin, memory) | {
        "origin": origin,
        "start": origin,  # of the next minimisation
        "target": targets,
        "distance": zero,
        "reached": none.bool(),
        "constant": zero + constant,
        "succeeds": zero,  # the largest c that does, 0 for none
        "fails": zero + torch.inf,  # the smallest c that does
        "evaluations": none,  # with this c
        "searches": none,
        "best": origin,
        "best_distance": zero + torch.inf,
        "iterations": none,
        "done": none.bool(),
    }


def _record(state: State, running: Tensor) -> None:
    """Take over the iterates that are classified as t and nearer than the best so far."""
    nearer = running & state["reached"] & (state["distance"] < state["best_distance"])
    state["best"] = torch.where(nearer[:, None], state["point"], state["best"])
    state["best_distance"] = torch.where(nearer, state["distance"], state["best_distance"])


def _next_constant(state: State, ended: Tensor) -> None:
    """Narrow the intervals of the images whose minimisation has ended, and start their next one."""
    constant, reached = state["constant"], state["reached"]
    succeeds = torch.where(ended & reached, constant, state["succeeds"])
    fails = torch.where(ended & ~reached, constant, state["fails"])
    following = torch.where(
        fails.isinf(),
        constant * 10,
        torch.where(succeeds == 0, constant / 10, (succeeds * fails).sqrt()),
    )
    following = torch.where(ended, following, constant)
    state["constant"], state["succeeds"], state["fails"] = following, succeeds, fails
    state["evaluations"] = state["evaluations"].masked_fill(ended, 0)
    state["searches"] = state["searches"] + ended
    start = torch.where((ended & reached)[:, None], state["point"], state["start"])
    state["start"] = start
    box_lbfgs.restart(state, ended, start)
