"""Bisection for one number per image."""

from collections.abc import Callable

import torch
from torch import Tensor


def bisect_smallest(
    holds: Callable[[Tensor], Tensor], upper: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Find the smallest number in [0, upper] for which a condition holds, for all images at once.

    The condition should hold from some number on; where it changes more than once, one of the
    changes is found. Every returned number that counts as found has itself passed the condition.

    Args:
        holds: Maps (N,) numbers, one per image, to (N,) bools.
        upper: (N,) upper ends of the intervals, at least 0.
        steps: Halvings of the interval; the error is upper · 2^−steps.

    Returns:
        (N,) numbers, equal to upper where the condition was never met, and (N,) bools that say
        where it was.
    """
    low = torch.zeros_like(upper)
    high = torch.where(holds(low), low, upper)
    found = holds(high)
    for _ in range(steps):
        middle = (low + high) / 2
        below = holds(middle)
        high = torch.where(below, middle, high)
        low = torch.where(below, low, middle)
        found = found | below
    return high, found
