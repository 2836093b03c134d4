"""Figures that set papers beside ours: all cells of a table; distributions and ROC of a column.

The latter two are Figure 1 of Martin & Elster 2019 and Figure 4 (left) of Zhao et al. 2019.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from advdetect.evaluation.figures import draw_histograms, roc_polyline
from advdetect.evaluation.names import display_name
from advdetect.evaluation.perturbation import mean_with_interval
from advdetect.evaluation.plotting import (
    DASHES,
    KIND_LINES,
    PALETTE,
    average_curve,
    panels,
    shared_legend,
    styled,
)
from advdetect.evaluation.reproduction import KEYS, NORMS, auroc
from advdetect.evaluation.reproduction_tables import cell_label
from advdetect.protocol import KINDS

_CELL, _READING = 0.14, 0.075  # inches of a cell, and of each reading in it
_REPORTED = "black"
_COLOURS = [colour for colour in PALETTE if colour != "#000000"]  # of the readings
_BOOTSTRAP = {"replicates": 1000, "seed": 0}


def reproduction_figure(comparison: pd.DataFrame) -> Figure:
    """Draw all cells of a reproduced table: reported values, and ours with their intervals.

    Args:
        comparison: What `reproduction.compare` returns.

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
        figure, axes = panels([""] * len(units), width=7.0, height=height, most=1)
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


def distribution_figure(values: Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Draw how one column of a feature is distributed over clean, noisy and adversarial images.

    Args:
        values: For each attack a table with the columns kind and score, all seeds together.
        label: What the values are.

    Returns:
        One panel per attack, on common axes; each kind's histogram has area 1.
    """
    together = pd.concat(values.values())
    every = together["score"]
    bins = np.histogram_bin_edges(every[np.isfinite(every)], bins=50)
    with styled():
        figure, axes = panels([display_name(attack) for attack in values], height=2.6)
        for axis, table in zip(axes, values.values(), strict=True):
            draw_histograms(axis, table, bins=bins)
            axis.set(xlabel=label, ylabel="Density")
        shown = {
            kind: KIND_LINES[kind] for kind in KINDS if (pd.concat(values)["kind"] == kind).any()
        }
        shared_legend(figure, shown)
    return figure


def column_roc_figure(samples: Mapping[str, Mapping[str, Sequence[pd.DataFrame]]]) -> Figure:
    """Draw the ROC curves of columns of a feature, each a score by itself.

    Args:
        samples: For each attack and column, of each seed a table with index, kind and score (higher
            is more adversarial).

    Returns:
        One panel per attack; a line is the vertical average over seeds, and the legend gives the
        AUROC with its 95 % bootstrap interval.
    """
    with styled():
        figure, axes = panels([display_name(attack) for attack in samples], width=4.4, height=4.2)
        for axis, columns in zip(axes, samples.values(), strict=True):
            axis.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
            for number, (column, tables) in enumerate(columns.items()):
                curves = [
                    roc_polyline(
                        table["score"].to_numpy(np.float64),
                        (table["kind"] == "adversarial").to_numpy(bool),
                    )
                    for table in tables
                ]
                area = mean_with_interval(tables, auroc, **_BOOTSTRAP).iloc[0]
                label = (
                    f"{display_name(column)}: {area['value']:.3f} "
                    f"[{area['low']:.3f}, {area['high']:.3f}]"
                )
                axis.plot(
                    *average_curve(curves),
                    label=label,
                    linewidth=1.5,
                    gid=column,
                    color=PALETTE[number % len(PALETTE)],
                    linestyle=DASHES[number % len(DASHES)],  # curves may lie on each other
                )
            axis.set(
                xlim=(-0.01, 1),
                ylim=(-0.01, 1.01),
                xlabel="False positive rate",
                ylabel="True positive rate",
            )
            axis.legend(title="AUROC", loc="lower right", framealpha=0.85)
    return figure
