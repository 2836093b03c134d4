"""Iterating over images that finish at different times: what is done leaves the batch.

A lane is one row of a batch that is optimised on its own: an image, or an image with one value of
a swept parameter. The state of all lanes is a dictionary of tensors of one leading dimension.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]


def iterate(
    state: State,
    step: Callable[[State], State],
    *,
    keep: Sequence[str],
    every: int,
    check: Callable[[State], State] = lambda state: state,
) -> State:
    """Repeat a step until every lane is done; drop the lanes that are done every few steps.

    Only at these checkpoints does the host wait for the device. A lane may be stepped on after it
    is done, up to the next checkpoint; the step must leave what is to be kept of it as it is.

    Args:
        state: Tensors of shape (lanes, …), among them the bool ``done``.
        step: Maps a state to the next; it may change its argument in place.
        keep: Names of the entries to return.
        every: Steps between two checkpoints, at least 1.
        check: Called at each checkpoint, before lanes are dropped; maps a state to a state.

    Returns:
        The kept entries as they were when each lane was done, in the order of the lanes.
    """
    finished = {name: torch.empty_like(state[name]) for name in keep}
    position = torch.arange(len(state["done"]), device=state["done"].device)
    while True:
        done = state["done"]
        gone, left = done.nonzero().flatten(), (~done).nonzero().flatten()
        if len(gone):
            for name in keep:
                finished[name][position[gone]] = state[name][gone]
            position = position[left]
            state = {name: value[left] for name, value in state.items()}
        if not len(left):
            return finished
        for _ in range(every):
            state = step(state)
        state = check(state)
