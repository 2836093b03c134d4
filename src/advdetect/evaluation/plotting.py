"""What all figures share: style, colours, panels and how a figure is saved."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito's colours: distinguishable with every common form of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHES = ("-", "--", "-.", ":")
KIND_COLOURS = {"clean": "#0072B2", "noisy": "#009E73", "adversarial": "#D55E00"}
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
_LEGEND_HANDLE, _LEGEND_LETTER, _LEGEND_ROW = 0.55, 0.068, 0.18  # inches
_SAVING: dict[Any, Any] = {"svg.hashsalt": "advdetect", "svg.fonttype": "path"}


def styled() -> AbstractContextManager[None]:
    """Return the context manager in which every figure is drawn."""
    return mpl.rc_context(_STYLE)


def panels(
    titles: Sequence[str], *, width: float = 3.4, height: float = 3.0, most: int = 3
) -> tuple[Figure, list[Axes]]:
    """Make a figure with one titled panel per name.

    Args:
        titles: The panels' titles, in reading order.
        width: Width of a panel in inches.
        height: Height of a panel in inches.
        most: Largest number of panels side by side.

    Returns:
        The figure and its axes, one per title.
    """
    columns = min(most, max(1, len(titles)))
    rows = max(1, -(-len(titles) // columns))
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for title, axis in zip(titles, axes, strict=False):
        axis.set_title(title)
    for spare in axes[len(titles) :]:
        spare.remove()
    return figure, axes[: len(titles)]


def line_style(position: int) -> dict[str, Any]:
    """Return the colour and dashes of the line at a position; the first 32 all differ."""
    dashes = DASHES[position // len(PALETTE) % len(DASHES)]
    return {"color": PALETTE[position % len(PALETTE)], "linestyle": dashes}


def shared_legend(figure: Figure, lines: Mapping[str, Mapping[str, Any]]) -> None:
    """Put one legend above all panels, and make room for it.

    Args:
        figure: The figure; it grows by the height of the legend.
        lines: The style of the line of each label.
    """
    handles = [Line2D([], [], **style) for style in lines.values()]
    width, height = figure.get_size_inches()
    wanted = [_LEGEND_HANDLE + _LEGEND_LETTER * len(label) for label in lines]
    columns = len(lines) if sum(wanted) <= width else max(1, int(width / max(wanted)))
    figure.set_size_inches(width, height + _LEGEND_ROW * -(-len(lines) // columns))
    figure.legend(handles, list(lines), loc="outside upper center", ncols=columns, frameon=False)


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
    for suffix, fields in metadata.items():
        path = Path(f"{os.fspath(path_without_suffix)}{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".saving-") as folder:
            temporary = Path(folder) / path.name
            with mpl.rc_context(_SAVING):
                figure.savefig(temporary, dpi=160, metadata=fields)
            os.replace(temporary, path)
        written.append(path)
    return written


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
