"""What all figures share: style, colours, panels and how a figure is saved."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.text import Text

from advdetect.files.atomic import atomic_path
from advdetect.tables.names import run_name

# Okabe & Ito's colours: distinguishable with every common form of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
LOG10 = r"$\log_{10}$"
_FORMULAS = (LOG10, r"\mathdefault{")
DASHES = ("-", "--", "-.", ":")
KIND_COLOURS = {"clean": "#0072B2", "noisy": "#009E73", "adversarial": "#D55E00"}
REPORTED_MARKS: dict[str, Any] = {
    "linestyle": "none",
    "marker": "D",
    "markersize": 4.5,
    "markerfacecolor": "white",
    "markeredgewidth": 1.2,
    "zorder": 3,  # above the curves
}
KIND_LINES = {kind: {"color": colour, "linewidth": 3} for kind, colour in KIND_COLOURS.items()}
_STYLE: dict[Any, Any] = {
    **sns.axes_style("whitegrid"),
    **sns.plotting_context("paper", font_scale=1.1),
    "font.family": ["DejaVu Sans"],
    "axes.titlesize": 11,
    "legend.fontsize": 8.5,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
}
_RUN_TITLE = 0.4  # inches above the block of a run
_LEGEND_HANDLE, _LEGEND_LETTER, _LEGEND_ROW = 0.65, 0.068, 0.18  # inches
_DPI = 160  # of PNG, for which figures are laid out: at another, letters are not as wide
_SAVING: dict[Any, Any] = {
    "svg.hashsalt": "advdetect",
    "svg.fonttype": "path",
    "image.composite_image": False,  # each of many pictures would be drawn as large as their axes
}


def styled() -> AbstractContextManager[None]:
    """Return the context manager in which every figure is drawn."""
    return mpl.rc_context(_STYLE)


#: Makes what is drawn on, of a width and height in inches: a figure, or a part of one.
Canvas = Callable[[float, float], FigureBase]
T = TypeVar("T", contravariant=True)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of its own: the canvas of everything that stands alone."""
    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


class Drawing(Protocol[T]):
    """Draws the data of one run."""

    def __call__(self, data: T, /, *, canvas: Canvas = new_figure) -> FigureBase:
        """Draw on what the canvas makes, and return it."""


def draw_runs(runs: Mapping[str, T], draw: Drawing[T]) -> Figure:
    """Draw the same figure of every run, one below the other.

    Args:
        runs: What is drawn, by the label of its run.
        draw: Draws one run.

    Returns:
        Of one run the figure itself; of several a block with its name for each, as tall as the
        figure of this run alone.
    """
    if len(runs) == 1:
        return cast(Figure, draw(*runs.values()))
    sizes = np.array([_size(draw, data) for data in runs.values()])
    heights = sizes[:, 1] + _RUN_TITLE
    with styled():
        figure = new_figure(sizes[:, 0].max(), heights.sum())
        grid = figure.add_gridspec(len(runs), 1)
        for row, (label, data) in enumerate(runs.items()):
            block = figure.add_subfigure(grid[row])
            block.suptitle(run_name(label), fontweight="bold", fontsize=12)
            before = figure.get_figheight()
            draw(data, canvas=partial(_given, block))
            heights[row] += figure.get_figheight() - before  # by its legend
        grid.set_height_ratios(heights)
    return figure


class _SizeKnown(Exception):  # noqa: N818 - it is no error
    """Ends a drawing that is begun to learn its size."""


def _size(draw: Drawing[T], data: T) -> tuple[float, float]:
    """Return the width and height that a drawing asks for, without drawing it."""
    sizes = []

    def canvas(width: float, height: float) -> FigureBase:
        sizes.append((width, height))
        raise _SizeKnown

    with suppress(_SizeKnown):
        draw(data, canvas=canvas)
    return sizes[0]


def _given(block: FigureBase, width: float, height: float) -> FigureBase:
    """Return a block that is there already, whatever size is asked for."""
    return block


def panels(
    titles: Sequence[str],
    *,
    width: float = 3.4,
    height: float = 3.0,
    most: int = 2,
    canvas: Canvas = new_figure,
) -> tuple[FigureBase, list[Axes]]:
    """Make a figure with one titled panel per name.

    Args:
        titles: The panels' titles, in reading order.
        width: Width of a panel in inches.
        height: Height of a panel in inches.
        most: Largest number of panels side by side; more than two are too small on a phone.
        canvas: What makes the figure.

    Returns:
        The figure and its axes, one per title.
    """
    columns = min(most, max(1, len(titles)))
    rows = max(1, -(-len(titles) // columns))
    figure = canvas(width * columns, height * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for title, axis in zip(titles, axes, strict=False):
        axis.set_title(title)
    for spare in axes[len(titles) :]:
        spare.remove()
    return figure, axes[: len(titles)]


def hide_axes(axis: Axes) -> None:
    """Leave nothing of a panel but what is drawn in it, and its title."""
    axis.set_axis_off()
    for unseen in (axis.xaxis, axis.yaxis):
        unseen.set_visible(False)  # or else their ticks are laid out all the same


def line_style(position: int, dashes: Sequence[Any] = DASHES) -> dict[str, Any]:
    """Return the colour and dashes of the line at a position.

    Args:
        position: From 0; the first lines, 8 times as many as there are dashes, all differ.
        dashes: Those that may be taken, a line without first.
    """
    pattern = dashes[position // len(PALETTE) % len(dashes)]
    return {"color": PALETTE[position % len(PALETTE)], "linestyle": pattern}


def overlapping_style(position: int) -> dict[str, Any]:
    """Return a colour and dashes for curves that may lie on each other: neighbours differ in both.

    The first 32 all differ, as of `line_style`.
    """
    colours, colour = divmod(position, len(PALETTE))
    return {"color": PALETTE[colour], "linestyle": DASHES[(colour + colours) % len(DASHES)]}


def shared_legend(figure: FigureBase, lines: Mapping[str, Mapping[str, Any]]) -> None:
    """Put one legend above all panels, in the block of a run below them, and make room for it.

    Args:
        figure: The figure, which grows by the height of the legend, or the block of a run in it.
        lines: The style of the line of each label.
    """
    handles = [Line2D([], [], **style) for style in lines.values()]
    whole = figure.get_figure(root=True)
    width, height = whole.get_size_inches()
    wanted = [_LEGEND_HANDLE + _LEGEND_LETTER * len(label) for label in lines]
    columns = len(lines) if sum(wanted) <= width else max(1, int(width / max(wanted)))
    whole.set_size_inches(width, height + _LEGEND_ROW * -(-len(lines) // columns))
    labels = [legend_label(label) for label in lines]
    figure.legend(
        handles,
        labels,
        # Above a block is the name of its run.
        loc="outside upper center" if figure is whole else "outside lower center",
        ncols=columns,
        handlelength=2.8,  # in letters: a whole period of all dashes
        frameon=False,
    )


def legend_label(text: str) -> str:
    """Return a text for a legend, where Matplotlib would leave out what begins with ``_``."""
    return f" {text}" if text.startswith("_") else text


def save_figure(figure: Figure, path_without_suffix: str | os.PathLike) -> list[Path]:
    """Write a figure as SVG and PNG; the same figure gives the same bytes.

    Args:
        figure: The figure.
        path_without_suffix: Where; ``.svg`` and ``.png`` are appended, and the folder is made.

    Returns:
        The two paths; each file is written under a temporary name and moved into place.
    """
    metadata: dict[str, dict[str, None]] = {
        ".svg": {"Date": None, "Creator": None},
        ".png": {"Software": None},
    }
    written = []
    _read_no_mathematics(figure)
    figure.draw_without_rendering()  # lays it out, once for both
    figure.set_layout_engine(None)  # or else each saving draws it once more, for the layout
    for suffix, fields in metadata.items():
        path = Path(f"{os.fspath(path_without_suffix)}{suffix}")
        with atomic_path(path) as temporary, mpl.rc_context(_SAVING):
            figure.savefig(temporary, format=suffix[1:], dpi=_DPI, metadata=fields)
        written.append(path)
    return written


def _read_no_mathematics(figure: Figure) -> None:
    """Show texts as they are: what a user calls ``$x`` is a name, and no formula.

    But for our own labels, and for those of logarithmic axes.
    """
    for text in _texts(figure):
        if "$" in text.get_text() and not any(own in text.get_text() for own in _FORMULAS):
            text.set_parse_math(False)


def _texts(artist: Artist) -> Iterator[Text]:
    """Yield the texts that can be seen: those of hidden axes would be made to be looked at."""
    if not artist.get_visible():
        return
    if isinstance(artist, Text):
        yield artist
    for part in artist.get_children():
        yield from _texts(part)


def average_curve(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Average curves vertically, keeping their jumps, so that areas average exactly.

    Args:
        curves: Polylines (x, y) from x = 0 to x = 1 with x never falling; equal x is a jump.

    Returns:
        The mean polyline, with two points (before and after a jump) at every x of any curve.
    """
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    before, after = np.zeros(len(grid)), np.zeros(len(grid))
    for x, y in curves:
        at, first = np.unique(x, return_index=True)
        lower, upper = y[first], y[np.append(first[1:], len(x)) - 1]
        # Between two corners a curve runs from the upper end of one to the lower end of the next.
        left = np.clip(np.searchsorted(at, grid, side="right") - 1, 0, len(at) - 2)
        share = (grid - at[left]) / (at[left + 1] - at[left])
        inside = upper[left] + share * (lower[left + 1] - upper[left])
        position = np.clip(np.searchsorted(at, grid), 0, len(at) - 1)
        corner = at[position] == grid
        before += np.where(corner, lower[position], inside)
        after += np.where(corner, upper[position], inside)
    mean = np.stack([before, after], axis=1).ravel() / len(curves)
    return np.repeat(grid, 2), mean
