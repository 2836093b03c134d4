"""The figure of defences: their accuracy over a swept parameter of the attacks."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from advdetect.errors import AdvdetectError
from advdetect.evaluation.defenses import defense_accuracies
from advdetect.evaluation.inputs import read_defenses
from advdetect.evaluation.sweeps import Sweep, number_sweeps
from advdetect.figures.plotting import (
    REPORTED_MARKS,
    Canvas,
    new_figure,
    overlapping_style,
    panels,
    shared_legend,
    styled,
)
from advdetect.papers.readings import reported_defenses
from advdetect.runs import RunFiles
from advdetect.tables.names import REPORTED, display_name

_BAND = 0.15  # opacity


def draw(
    files: RunFiles,
    *,
    canvas: Canvas = new_figure,
    replicates: int,
    bootstrap_seed: int,
    reproductions: Sequence[Mapping[str, Any]] = (),
) -> FigureBase:
    """Draw it from files of defend, and the files of values that papers report, if there are any.

    Args:
        files: Those files.
        canvas: What makes the figure.
        replicates: Number of bootstrap replicates.
        bootstrap_seed: Seed of the bootstrap.
        reproductions: The papers' tables of defences: what they report stands beside ours.
    """
    cells = defense_accuracies(
        read_defenses(files.paths),
        bits="float32",
        positives="successful",
        replicates=replicates,
        seed=bootstrap_seed,
    )
    reported = reported_defenses(reproductions, files.reported, files.label)
    return defense_accuracy_figure(cells, reported, canvas=canvas)


def defense_accuracy_figure(
    cells: pd.DataFrame, reported: pd.DataFrame | None, *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the defence accuracy over the parameter that is swept, κ in Hsu et al. 2018.

    Args:
        cells: What `defenses.defense_accuracies` returns.
        reported: Columns attack, defense and value in [0, 1]; None where there are none.
        canvas: What makes the figure.

    Returns:
        One panel for each sweep of a number (see `sweeps.number_sweeps`), with a line for each
        defence, its 95 % interval as a band, and the values that are reported as markers.

    Raises:
        AdvdetectError: No attack is swept over a number.
    """
    sweeps = number_sweeps(cells["attack"].unique())
    if not sweeps:
        raise AdvdetectError(
            "There is no defence accuracy to draw: it needs an attack with at least two values of "
            "a number, such as kappa."
        )
    styles = {name: overlapping_style(i) for i, name in enumerate(cells["defense"].unique())}
    legend: dict[str, Mapping[str, Any]] = {}
    with styled():
        figure, axes = panels([display_name(sweep.name) for sweep in sweeps], canvas=canvas)
        for defense, style in styles.items():
            ours = cells[cells["defense"] == defense]
            theirs = None if reported is None else reported[reported["defense"] == defense]
            for axis, sweep in zip(axes, sweeps, strict=True):
                _draw_line(axis, _along(sweep, ours), defense, style)
                legend[display_name(defense)] = style
                if theirs is not None and theirs["attack"].isin(sweep.attacks.values()).any():
                    marks = style | REPORTED_MARKS
                    shown = _along(sweep, theirs)
                    axis.plot(shown.index, shown["value"], gid=f"{defense}{REPORTED}", **marks)
                    legend[f"{display_name(defense)}, reported"] = marks
        for axis, sweep in zip(axes, sweeps, strict=True):
            name = display_name(sweep.parameter)
            axis.set(ylim=(-2, 102), xlabel=name, ylabel="Defence accuracy (%)")
        shared_legend(figure, legend)
    return figure


def _along(sweep: Sweep, values: pd.DataFrame) -> pd.DataFrame:
    """Return value, low and high in percent, indexed by the number that is swept; NaN for none."""
    rows = values.set_index("attack").reindex(
        index=list(sweep.attacks.values()), columns=["value", "low", "high"]
    )
    return 100 * rows.set_index(pd.Index(list(sweep.attacks)))


def _draw_line(axis: Axes, cells: pd.DataFrame, defense: str, style: Mapping[str, Any]) -> None:
    band = {"color": style["color"], "alpha": _BAND, "linewidth": 0}
    axis.fill_between(cells.index, cells["low"], cells["high"], **band)
    axis.plot(cells.index, cells["value"], gid=defense, marker="o", markersize=3, **style)
