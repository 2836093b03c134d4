"""Keeping the nearest success of all that an attack looks at."""

from collections.abc import Sequence

import torch
from torch import Tensor

from advdetect.lanes import State


def record(state: State, candidate: Tensor, success: Tensor, distances: Sequence[Tensor]) -> None:
    """Take over the successful candidates that are nearer than the best so far, by each rule.

    Args:
        state: Lanes, changed in place.
        candidate: (lanes, C, H, W).
        success: (lanes,) bool.
        distances: One (lanes,) tensor per rule.
    """
    for rule, distance in enumerate(distances):
        best, shortest = state["best"][:, rule], state["shortest"][:, rule]
        better = success & (distance < shortest)
        shortest.copy_(torch.where(better, distance, shortest))
        best.copy_(torch.where(better[:, None, None, None], candidate, best))
