"""The search of the attacks by penalty: which c, from where, and when a run ends.

It differs from the code of Carlini and Wagner (2017), which starts at c = 0.001 and completes each
of its nine runs from the image. Here a lane has three phases:

1. Search for c. The first c is the one at which a linear model would just be fooled. A run goes on
   where the last one ended and ends with its first success, which is all that a search asks for.
2. One run from the image, towards another class: in an untargeted attack the class that the best
   success so far has reached is passed over. Which class a run ends in is a matter of chance, and
   the nearest one at a small margin is often not the nearest at a large one.
3. One run from the best success of both, to its end.

That takes a quarter of the iterations or less and finds nearer images (docs/decisions.md has the
figures).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advdetect.lanes import State, iterate

_SEARCH, _OTHER_CLASS, _REFINE, _DONE = range(4)

_CHECKS = 20  # of a run, in which it may end
#: A run ends early where its objective falls by less than this share per iteration since the last
#: check, of which 50 count at most; sooner in the search, which only asks if there is a success.
_STALL = 2e-5
_SEARCH_STALL = 2e-4
_SETTLED = 50  # iterations; the first ones of a run may well lead uphill
_GROWTH = 10.0  # of c, until the first success
#: The search ends when the interval of c is narrower than this share of its upper end.
_CLOSE = 0.25
#: The c of the last two runs, as a multiple of the smallest that succeeded.
_OTHER_CLASS_FACTOR = 1.6
_REFINE_FACTOR = 1.5


@dataclass(frozen=True)
class Optimizer:
    """How the images of the lanes are moved.

    Attributes:
        moments: Entries that remember earlier steps of a run; all zero at its start.
        step: One iteration: changes the state in place, sets ``objective`` and calls `record`. The
            entry ``shift`` says where a lane is; it is all zero at the image itself.
        shift_to: Maps a state and (lanes, C, H, W) images to the ``shift`` that leads there.
    """

    moments: Sequence[str]
    step: Callable[[State], None]
    shift_to: Callable[[State, Tensor], Tensor]


def search(
    model: nn.Module, state: State, optimizer: Optimizer, search_steps: int, iterations: int
) -> State:
    """Run all phases of all lanes.

    Args:
        model: Classifier that returns logits, in eval mode.
        state: The lanes before the first run, with the first c.
        optimizer: What moves them.
        search_steps: At most so many values of c are tried in the first phase, at least 1.
        iterations: At most so many per run, at least 1.

    Returns:
        The entries ``best``, ``shortest`` and ``iterations`` at the end.
    """
    every = math.ceil(iterations / _CHECKS)

    def step(state: State) -> State:
        optimizer.step(state)
        state["iteration"] += 1
        return state

    def check(state: State) -> State:
        state["iterations"] += every
        searching = state["phase"] == _SEARCH
        share = min(every, _SETTLED) * torch.where(searching, _SEARCH_STALL, _STALL)
        stalled = state["objective"] > (1 - share) * state["previous"]
        ended = stalled & (state["iteration"] >= _SETTLED)
        ended |= (state["iteration"] >= iterations) | (searching & state["reached"])
        state["previous"] = torch.where(ended, torch.inf, state["objective"])
        _narrow_interval(state, ended)
        _next_phase(state, ended, search_steps)
        _choose_constant(state, ended)
        _choose_start(state, ended, model, optimizer)
        state["done"] = state["phase"] == _DONE
        state["reached"] &= ~ended
        state["iteration"] *= ~ended
        return state

    return iterate(state, step, keep=("best", "shortest", "iterations"), every=every, check=check)


def difference(state: State, images: Tensor) -> Tensor:
    """Return the ``shift`` of an optimizer that moves the pixels themselves."""
    return images - state["origin"]


def _narrow_interval(state: State, ended: Tensor) -> None:
    constant, reached = state["constant"], state["reached"]
    smaller = torch.minimum(state["upper"], constant)
    larger = torch.maximum(state["lower"], constant)
    state["upper"] = torch.where(ended & reached, smaller, state["upper"])
    state["lower"] = torch.where(ended & ~reached, larger, state["lower"])
    state["runs"] += ended


def _next_phase(state: State, ended: Tensor, search_steps: int) -> None:
    """End the search where c is known, and all where there is no success to refine."""
    lower, upper, phase = state["lower"], state["upper"], state["phase"]
    succeeded = upper.isfinite()
    known = succeeded & (upper - lower < _CLOSE * upper)
    ends = ended & (known | (state["runs"] >= search_steps) | (phase > _SEARCH))
    state["phase"] = torch.where(
        ends & (phase == _OTHER_CLASS) & ~succeeded, _DONE, phase + ends.to(phase.dtype)
    )


def _choose_constant(state: State, ended: Tensor) -> None:
    """Set the c of the next run where one has ended."""
    lower, upper, phase = state["lower"], state["upper"], state["phase"]
    following = torch.where(phase == _SEARCH, (lower + upper) / 2, _OTHER_CLASS_FACTOR * upper)
    # The run before may have failed above the upper end, which a success in passing can make too
    # small; a c that is too large does little harm.
    refined = _REFINE_FACTOR * torch.maximum(lower, upper)
    following = torch.where(phase == _REFINE, refined, following)
    following = torch.where(upper.isfinite(), following, _GROWTH * state["constant"])
    state["constant"] = torch.where(ended, following, state["constant"])


def _choose_start(state: State, ended: Tensor, model: nn.Module, optimizer: Optimizer) -> None:
    """Set where the next run starts, and how, where one has ended."""
    for name in optimizer.moments:
        state[name].masked_fill_(_as_images(ended), 0)
    other = ended & (state["phase"] == _OTHER_CLASS)
    refine = ended & (state["phase"] == _REFINE)
    state["shift"].masked_fill_(_as_images(other), 0)
    best = state["best"][:, 0]
    if refine.any():
        shift = optimizer.shift_to(state, best)
        state["shift"] = torch.where(_as_images(refine), shift, state["shift"])
    state["passed_over"] = torch.where(refine, state["goal"], state["passed_over"])
    found = (other & state["upper"].isfinite()).nonzero().flatten()
    if len(found):
        logits = model(best[found])
        if logits.shape[1] > 2:  # of two classes there is no other
            reached = logits.argmax(dim=1)
            state["passed_over"] = state["passed_over"].index_copy(0, found, reached)


def _as_images(lanes: Tensor) -> Tensor:
    return lanes[:, None, None, None]
