"""Square windows, at a place of its own in each image, and what the square attack puts there."""

from functools import cache

import torch
from torch import Tensor


@cache
def bump(side: int) -> Tensor:
    """Return the (side, side) perturbation of the square attack in L2, of norm 1.

    Andriushchenko et al. 2020, section 3.4, equation (2): two rectangles of opposite signs above
    each other, each highest in its middle. The upper one has side // 2 rows.

    Args:
        side: At least 1.
    """
    upper = side // 2
    both = torch.cat([_rectangle(upper, side), -_rectangle(side - upper, side)])
    return both / both.norm()


def _rectangle(height: int, width: int) -> Tensor:
    """Return the sum over k of 1/(k+1)² on the points at most k from the middle, of norm 1."""
    middle = (height // 2, width // 2)
    row = (torch.arange(height, dtype=torch.float64) - middle[0]).abs()
    column = (torch.arange(width, dtype=torch.float64) - middle[1]).abs()
    distance = torch.maximum(row[:, None], column)
    values = torch.zeros(height, width, dtype=torch.float64)
    for k in range(max(height // 2, width // 2) + 1):
        values += (distance <= k) / (k + 1) ** 2
    return values / values.norm().clamp_min(torch.finfo(values.dtype).tiny)


def tiles(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Return the upper left corners of as many squares as an image has room for, in its middle."""
    rows, columns = height // side, width // side
    top, left = (height - rows * side) // 2, (width - columns * side) // 2
    return [(top + side * i, left + side * j) for i in range(rows) for j in range(columns)]


def inside_window(draws: Tensor, side: int, size: torch.Size) -> Tensor:
    """Return which pixels lie in each image's window, all places equally likely.

    Args:
        draws: (N, 2) in [0, 1), of the row and the column.
        side: Of the window.
        size: (H, W) of the images.

    Returns:
        (N, 1, H, W) bool.
    """
    within = []
    for draw, length in zip(draws.T, size, strict=True):
        first = _first(draw, length - side)[:, None]
        place = torch.arange(length, device=draws.device)
        within.append((place >= first) & (place < first + side))
    return (within[0][:, :, None] & within[1][:, None])[:, None]


def cut(images: Tensor, draws: Tensor, side: int) -> Tensor:
    """Return the (N, C, side, side) windows of `inside_window` in (N, C, H, W) images."""
    return images[_index(draws, side, images.shape[2:])].permute(0, 3, 1, 2)


def filled(images: Tensor, values: Tensor, draws: Tensor) -> Tensor:
    """Return the images with (N, C, side, side) values in the windows of `inside_window`."""
    images = images.clone()
    images[_index(draws, values.shape[-1], images.shape[2:])] = values.permute(0, 2, 3, 1)
    return images


def _first(draws: Tensor, last: int) -> Tensor:
    return (draws * (last + 1)).long().clamp(max=last)


def _index(draws: Tensor, side: int, size: torch.Size) -> tuple[Tensor, slice, Tensor, Tensor]:
    span = torch.arange(side, device=draws.device)
    rows, columns = (
        _first(draw, length - side)[:, None] + span
        for draw, length in zip(draws.T, size, strict=True)
    )
    image = torch.arange(len(draws), device=draws.device)
    return image[:, None, None], slice(None), rows[:, :, None], columns[:, None]
