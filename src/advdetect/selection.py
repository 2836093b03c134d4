"""Choosing some of the images."""

import torch
from torch import Tensor


def evenly_spread(count: int, limit: int | None) -> Tensor:
    """Return the positions of at most ``limit`` rows, evenly spread over all of them.

    Random numbers would make what is computed depend on a seed; the first rows would leave out
    classes where images are sorted by class.

    Args:
        count: Rows that there are.
        limit: Rows to choose, at least 1; None means all.

    Returns:
        (min(count, limit),) int64 in ascending order.
    """
    chosen = count if limit is None else min(count, limit)
    return torch.arange(chosen) * count // max(1, chosen)
