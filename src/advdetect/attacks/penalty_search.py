"""The runs of the attacks by penalty: with which c, from where, and when a run ends.

The code of Carlini and Wagner (2017) starts at c = 0.001 and completes each of its nine runs from
the image. Here a near success is known before the first run (`class_search`), and with it c: that
at which it would be the minimum. So the runs polish: one for each rule that chooses among the
successes of an attack, from the near success of that rule. Only what an attack's own steps reach
counts; where they reach none, the near success does.

Only a lane that knows no success searches for c: from the image, with the c at which a linear model
would just be fooled, and ten times as much in each further run, which goes on where the last one
ended. Its first success ends that, and is polished as another one is.

That takes a fifth of the passes that a search for c took, and finds nearer images
(docs/decisions.md has the figures).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import per_image
from advdetect.attacks.logits import differentiable_logits
from advdetect.attacks.record import record
from advdetect.lanes import State, iterate

#: Maps logits (lanes, C) and the lanes to the (lanes,) loss that c weighs, its (lanes, C)
#: derivative by the logits, and (lanes,) bool: success.
Loss = Callable[[Tensor, State], tuple[Tensor, Tensor, Tensor]]

#: Stage of a lane that knows no success; later ones count the runs that polish.
_SEARCH = -1

_CHECKS = 40  # of a run, in which it may end
#: A run ends early where its objective falls by less than this share per iteration since the last
#: check.
_STALL = 4e-5
_GROWTH = 10.0  # of c, until the first success
#: c is kept within these, where the gradient says little.
_LIMITS = (1e-3, 1e6)


@dataclass(frozen=True)
class Optimizer:
    """How the images of the lanes are moved.

    Attributes:
        moments: Entries that remember earlier steps of a run; all zero at its start.
        step: One iteration: changes the state in place, sets ``objective`` and calls `record`. The
            entry ``shift`` says where a lane is; it is all zero at the image itself.
        shift_to: Maps a state and (lanes, C, H, W) images to the ``shift`` that leads there.
        distances: Maps (lanes, C, H, W) perturbations to (lanes,) distances, one for each rule.
        pull: Maps (lanes, C, H, W) perturbations δ to the (lanes,) products of δ and the gradient
            of the distance that the steps go down.
        excess: The c of a run, as a multiple of the one at which its start would be the minimum.
        settled: No run ends before so many iterations; the first ones may well lead uphill.
    """

    moments: Sequence[str]
    step: Callable[[State], None]
    shift_to: Callable[[State, Tensor], Tensor]
    distances: Callable[[Tensor], Sequence[Tensor]]
    pull: Callable[[Tensor], Tensor]
    excess: float
    settled: int


def search(
    model: nn.Module,
    state: State,
    loss: Loss,
    optimizer: Optimizer,
    search_steps: int,
    iterations: int,
) -> State:
    """Run all runs of all lanes.

    Args:
        model: Classifier that returns logits, in eval mode.
        state: The lanes before the first run. ``starts``, (lanes, rules, C, H, W), has the near
            successes, the image where there is none, and ``known``, (lanes,) bool, where they are.
        loss: What c weighs.
        optimizer: What moves them.
        search_steps: Without a success at most so many values of c are tried, at least 1.
        iterations: At most so many per run, at least 1.

    Returns:
        The entries ``best``, ``shortest`` and ``iterations`` at the end.
    """
    every = math.ceil(iterations / _CHECKS)
    state["stage"] = torch.where(state["known"], 0, _SEARCH)
    _begin(model, state, loss, optimizer, ~state["done"])

    def step(state: State) -> State:
        optimizer.step(state)
        state["iteration"] += 1
        return state

    def check(state: State) -> State:
        state["iterations"] += every
        searching = state["stage"] == _SEARCH
        reached = searching & state["shortest"][:, 0].isfinite()
        state["known"] |= reached
        state["starts"] = torch.where(reached.view(-1, 1, 1, 1, 1), state["best"], state["starts"])
        stalled = state["objective"] > (1 - every * _STALL) * state["previous"]
        ended = stalled & (state["iteration"] >= optimizer.settled)
        ended |= (state["iteration"] >= iterations) | reached
        state["previous"] = torch.where(ended, torch.inf, state["objective"])
        state["runs"] += ended
        state["iteration"] *= ~ended
        for name in optimizer.moments:
            state[name].masked_fill_(per_image(ended), 0)
        goes_on = ended & ~state["known"]
        state["constant"] = torch.where(goes_on, _GROWTH * state["constant"], state["constant"])
        state["done"] = goes_on & (state["runs"] >= search_steps)
        polished = ended & state["known"]
        state["stage"] += polished
        over = polished & (state["stage"] == state["shortest"].shape[1])
        _fall_back(state, optimizer, over)
        state["done"] |= over
        _begin(model, state, loss, optimizer, polished & ~over)
        return state

    return iterate(state, step, keep=("best", "shortest", "iterations"), every=every, check=check)


def difference(state: State, images: Tensor) -> Tensor:
    """Return the ``shift`` of an optimizer that moves the pixels themselves."""
    return images - state["origin"]


def _fall_back(state: State, optimizer: Optimizer, lanes: Tensor) -> None:
    """Record the near successes of some lanes if their runs had none."""
    nothing = lanes & ~state["shortest"][:, 0].isfinite()
    for start in state["starts"].unbind(1):
        record(state, start, nothing, optimizer.distances(start - state["origin"]))


def _begin(model: nn.Module, state: State, loss: Loss, optimizer: Optimizer, lanes: Tensor) -> None:
    """Set c and where a run starts, in some of the lanes."""
    rows = lanes.nonzero().flatten()
    if not len(rows):
        return
    part = {name: value[rows] for name, value in state.items()}
    rule = part["stage"].clamp_min(0)
    start = part["starts"][torch.arange(len(rows), device=rows.device), rule]
    part["constant"] = _constant(model, part, loss, optimizer, start)
    state["constant"] = state["constant"].index_copy(0, rows, part["constant"])
    state["shift"] = state["shift"].index_copy(0, rows, optimizer.shift_to(part, start))


def _constant(
    model: nn.Module, state: State, loss: Loss, optimizer: Optimizer, start: Tensor
) -> Tensor:
    """Return the c of runs from (lanes, C, H, W) images.

    At a minimum δ of distance + c · loss the gradients of both cancel, so do their products with
    δ: c = ⟨δ, ∇distance⟩ / −⟨δ, ∇loss⟩, which in L2 is 2 ‖δ‖ / ‖∇loss‖ where δ is along the
    gradient. At the image itself, 2 · loss / ‖∇loss‖² is the c from which on the penalty of a
    linear loss is exact.
    """
    logits, gradient = differentiable_logits(model, start)
    value, _, _ = loss(logits, state)
    # A hinge is flat at a success; its slope is the one that it has at no margin yet.
    _, derivative, _ = loss(logits, state | {"kappa": torch.full_like(value, torch.inf)})
    slope, change = gradient(derivative).flatten(1), start - state["origin"]
    at_success = optimizer.pull(change) / -(slope * change.flatten(1)).sum(dim=1)
    at_image = 2 * value / slope.square().sum(dim=1)
    polishing = state["stage"] != _SEARCH
    constant = torch.where(polishing, optimizer.excess * at_success, at_image)
    return constant.nan_to_num(0).clamp(*_LIMITS)
