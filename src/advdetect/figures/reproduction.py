"""All cells of a paper's table: reported values, and ours with their intervals."""

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.figures.plotting import (
    PALETTE,
    Canvas,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.papers.reproduction import KEYS, NORMS
from advdetect.runs import RunFiles
from advdetect.tables.reproduction_tables import cell_label, read_comparison

_CELL, _READING = 0.14, 0.075  # inches of a cell, and of each reading in it
_REPORTED = "black"
_COLOURS = [colour for colour in PALETTE if colour != "#000000"]  # of the readings


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw it from the comparison that reproduce wrote."""
    return reproduction_figure(read_comparison(*files.tables), canvas=canvas)


def reproduction_figure(comparison: pd.DataFrame, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw all cells of a reproduced table: reported values, and ours with their intervals.

    Args:
        comparison: What `reproduction.compare` returns.
        canvas: What makes the figure.

    Returns:
        One panel per unit (percent, norms); a line for each cell, a colour for each reading.
    """
    readings = list(comparison["reading"].unique())
    norms = comparison["quantity"].isin(NORMS)
    units = [
        (label, table)
        for label, table in (("Percent", comparison[~norms]), ("L2 norm", comparison[norms]))
        if len(table)
    ]
    most = max(len(table.drop_duplicates(KEYS)) for _, table in units)
    height = 0.7 + most * (_CELL + _READING * len(readings))
    with styled():
        figure, axes = panels([""] * len(units), width=7.0, height=height, most=1, canvas=canvas)
        for axis, (label, table) in zip(axes, units, strict=True):
            labels = [cell_label(row) for row in table.to_dict("records")]
            names = list(dict.fromkeys(labels))
            position = np.array([names.index(name) for name in labels], dtype=float)
            shift = np.array([readings.index(name) for name in table["reading"]])
            place = position + 0.7 * ((shift + 0.5) / len(readings) - 0.5)
            for number, reading in enumerate(readings):
                rows = (table["reading"] == reading).to_numpy()
                own = table[rows]
                axis.errorbar(
                    own["value"],
                    place[rows],
                    xerr=np.stack([own["value"] - own["low"], own["high"] - own["value"]]).clip(0),
                    color=_COLOURS[number % len(_COLOURS)],
                    fmt="o",
                    markersize=3,
                    linewidth=1.2,
                    gid=reading,
                )
            reported = table.assign(position=position).dropna(subset="reported")
            reported = reported.drop_duplicates("position")
            axis.vlines(
                reported["reported"],
                reported["position"] - 0.42,
                reported["position"] + 0.42,
                color=_REPORTED,
                linewidth=1.6,
                gid="reported",
            )
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.set(xlabel=label)
            axis.grid(axis="y", visible=False)
            for border in np.arange(len(names) - 1) + 0.5:
                axis.axhline(border, color="0.92", linewidth=0.7, zorder=0)
        legend = {"reported": {"color": _REPORTED, "linewidth": 1.6}} | {
            name: {"color": _COLOURS[number % len(_COLOURS)], "marker": "o", "markersize": 4}
            for number, name in enumerate(readings)
        }
        shared_legend(figure, legend)
    return figure
