"""Pictures in rows, as narrow as a phone: captions can be read where a figure is 400 pixels wide.

All pictures of a figure share one axes, whose units are inches. An axes for each would be laid out
by itself, which takes seconds for each dozen of attacks.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.figures.plotting import Canvas, hide_axes, new_figure, styled

WIDTH = 4.2  # inches of pictures: on 400 pixels the letters of captions are 11 pixels tall
_GAP = 0.07  # inches between pictures
_MARGIN = 2 * 3 / 72  # inches that the layout of a figure keeps free, both sides together
_TITLE, _CAPTION = 10.5, 8.5  # points
_TITLE_LETTERS = 46  # of a line as wide as the figure
_CAPTION_LETTERS = 15  # of a line one inch wide
_LINE = 1.3 / 72  # inches of a line for each point of its letters
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue, ITU-R BT.601


@dataclass(frozen=True)
class Picture:
    """A picture and what stands above it.

    Attributes:
        pixels: (H, W) grey or (H, W, 3) red, green and blue, in [0, 1].
        caption: A text, which is wrapped, and broken where it has line breaks.
    """

    pixels: NDArray[np.floating]
    caption: str = ""


@dataclass(frozen=True)
class Block:
    """Rows of pictures below a title.

    Attributes:
        title: The title, which is wrapped.
        rows: The pictures of each row, from the left.
    """

    title: str
    rows: Sequence[Sequence[Picture]]


def draw_pictures(
    blocks: Sequence[Block], *, columns: int, note: str = "", canvas: Canvas = new_figure
) -> FigureBase:
    """Draw blocks of pictures, one below the other.

    Args:
        blocks: The blocks.
        columns: How many pictures fill the width.
        note: What stands below all of them.
        canvas: What makes the figure.

    Returns:
        The figure, with one axes, in which 1 is an inch.
    """
    side = (WIDTH + _GAP) / columns - _GAP
    letters = int(side * _CAPTION_LETTERS)
    heights = [_height(block, side, letters) for block in blocks]
    note_lines = _wrapped(note, int(WIDTH * _CAPTION_LETTERS))
    whole = sum(heights) + len(note_lines) * _CAPTION * _LINE
    with styled():
        figure = canvas(WIDTH + _MARGIN, whole + _MARGIN)
        axis = figure.subplots()
        hide_axes(axis)
        axis.set(xlim=(0, WIDTH), ylim=(whole, 0), aspect="equal", anchor="N")
        top = 0.0
        for block, height in zip(blocks, heights, strict=True):
            _draw_block(axis, block, top, side, letters)
            top += height
        _write(axis, WIDTH / 2, whole, note_lines, fontsize=_CAPTION)
    return figure


def picture_of(image: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the pixels of an image (C, H, W), C = 1 or 3: (H, W) or (H, W, 3)."""
    return image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)


def magnification(differences: NDArray[np.floating]) -> float:
    """Return the power of two by which differences are magnified around mid-grey.

    Args:
        differences: Of images in [0, 1], any shape.

    Returns:
        The largest 2^k at which 99 % of the differences other than 0 stay within black and white,
        1/2 at least; 1 where nothing differs. The rest is shown as black or white.
    """
    sizes = np.abs(differences[differences != 0])
    if not len(sizes):
        return 1.0
    return float(2.0 ** max(np.floor(np.log2(0.5 / np.quantile(sizes, 0.99))), -1.0))


def difference_picture(difference: NDArray[np.floating], magnified: float) -> NDArray[np.floating]:
    """Return a signed difference (C, H, W) around mid-grey, each channel by itself."""
    return picture_of(np.clip(0.5 + magnified * difference, 0.0, 1.0))


def times(magnified: float) -> str:
    """Return how a magnification is written: ``×8``."""
    return f"\N{MULTIPLICATION SIGN}{magnified:g}"


def overlay(image: NDArray[np.floating], weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a map over an image, which is pale and grey so that all colours are the map's.

    Args:
        image: (C, H, W) in [0, 1].
        weight: (H, W) in [0, 1]; the larger, the more opaque: √weight.

    Returns:
        (H, W, 3) red, green and blue in [0, 1].
    """
    pixels = picture_of(image)
    grey = pixels if pixels.ndim == 2 else pixels @ _LUMINANCE
    pale = 0.65 + 0.35 * grey[..., None]
    opacity = np.sqrt(weight)[..., None]
    colours = mpl.colormaps["inferno"](weight)[..., :3]
    return np.asarray((1 - opacity) * pale + opacity * colours)


def _wrapped(text: str, letters: int) -> list[str]:
    return [line for part in text.split("\n") for line in textwrap.wrap(part, letters)]


def _height(block: Block, side: float, letters: int) -> float:
    title = len(_wrapped(block.title, _TITLE_LETTERS)) * _TITLE * _LINE
    return title + sum(sum(_row_heights(row, side, letters)) for row in block.rows) + 2 * _GAP


def _row_heights(row: Sequence[Picture], side: float, letters: int) -> tuple[float, float]:
    """Return the heights of a row's captions and of its pictures, the gap below among it."""
    lines = max(len(_wrapped(picture.caption, letters)) for picture in row)
    ratios = [picture.pixels.shape[0] / picture.pixels.shape[1] for picture in row]
    return lines * _CAPTION * _LINE, side * max(ratios) + _GAP


def _draw_block(axis: Axes, block: Block, top: float, side: float, letters: int) -> None:
    title = _wrapped(block.title, _TITLE_LETTERS)
    top += len(title) * _TITLE * _LINE
    _write(axis, WIDTH / 2, top, title, fontsize=_TITLE, fontweight="bold")
    for row in block.rows:
        above, below = _row_heights(row, side, letters)
        top += above
        for picture, left in zip(row, _lefts(side), strict=False):
            height = side * picture.pixels.shape[0] / picture.pixels.shape[1]
            # Not "nearest": where pixels are smaller than those of the screen, noise would alias.
            axis.imshow(
                picture.pixels,
                cmap="gray",
                vmin=0,
                vmax=1,
                extent=(left, left + side, top + height, top),
                interpolation="auto",
            )
            lines = _wrapped(picture.caption, letters)
            _write(axis, left + side / 2, top, lines, fontsize=_CAPTION)
        top += below


def _lefts(side: float) -> Iterator[float]:
    left = 0.0
    while True:
        yield left
        left += side + _GAP


def _write(axis: Axes, x: float, bottom: float, lines: Sequence[str], **style: Any) -> None:
    """Write centred lines above a height; they have their place and need no layout."""
    if lines:
        text = axis.text(x, bottom - 0.02, "\n".join(lines), ha="center", va="bottom", **style)
        text.set_in_layout(False)
