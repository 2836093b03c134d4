"""Success where images were crafted and where they are judged (Papernot et al. 2016)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from advdetect.errors import AdvdetectError
from advdetect.evaluation.inputs import read_norms
from advdetect.evaluation.perturbation import AttackNorms, mean_with_interval, share_of
from advdetect.evaluation.sweeps import Sweep, number_sweeps
from advdetect.figures.plotting import (
    PALETTE,
    REPORTED_MARKS,
    Canvas,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.papers.readings import ReportedRate, reported_transfers
from advdetect.runs import RunFiles
from advdetect.tables.names import REPORTED, display_name, run_name

#: Where an image succeeds, by the column that says so: style of the line and words.
_WHERE = {
    "success": ("-", "crafted on {source}, judged on the model"),
    "crafted_success": ("--", "on {source} itself"),
}
_BAND = 0.15  # opacity
_BOOTSTRAP = {"replicates": 1000, "seed": 0}


def draw(
    files: RunFiles,
    *,
    canvas: Canvas = new_figure,
    reproductions: Sequence[Mapping[str, Any]] = (),
) -> FigureBase:
    """Draw it from files of attack that were crafted on other models.

    Args:
        files: Those files, and the files of values that papers report, if there are any.
        canvas: What makes the figure.
        reproductions: The papers' tables of images that cross: what they report stands beside ours.
    """
    reported = reported_transfers(reproductions, files.reported, files.label)
    return transfer_figure(read_norms(files.paths), reported, canvas=canvas)


def transfer_figure(
    attacks: Sequence[AttackNorms],
    reported: Sequence[ReportedRate] = (),
    *,
    canvas: Canvas = new_figure,
) -> FigureBase:
    """Draw the success of swept attacks on the model and on those that they were crafted on.

    Both count the images that both models classify correctly when clean.

    Args:
        attacks: The attacks, called as in ``fgsm@substitute,epsilon=0.3``.
        reported: What papers report of them on the model.
        canvas: What makes the figure.

    Returns:
        One panel for each method, over the number that it sweeps, with a colour for each model
        that images were crafted on: solid on the model, dashed where they were crafted; means over
        seeds with 95 % bootstrap bands. Diamonds in the colour of their curve are reported values.

    Raises:
        AdvdetectError: No attack that was crafted on another model sweeps a number.
    """
    known = {attack.attack: attack for attack in attacks if "@" in attack.attack}
    methods: dict[tuple[str, str], list[Sweep]] = {}
    for sweep in number_sweeps(known):
        method = sweep.name.partition("@")[0]
        methods.setdefault((method, sweep.parameter), []).append(sweep)
    if not methods:
        raise AdvdetectError(
            "There is no transfer to draw: it needs an attack that was crafted on another model "
            "with at least two values of a number, such as attack.fgsm.epsilon=[0.1,0.3]."
        )
    sources = list(dict.fromkeys(_source(s) for sweeps in methods.values() for s in sweeps))
    legend: dict[str, Mapping[str, Any]] = {}
    with styled():
        titles = [display_name(method) for method, _ in methods]
        figure, axes = panels(titles, width=3.8, canvas=canvas)
        for axis, ((_, parameter), sweeps) in zip(axes, methods.items(), strict=True):
            for sweep in sweeps:
                source = _source(sweep)
                colour = PALETTE[sources.index(source) % len(PALETTE)]
                for column, (dashes, words) in _WHERE.items():
                    style = {"color": colour, "linestyle": dashes, "linewidth": 1.6}
                    _draw_line(axis, sweep, known, column, style)
                    legend[words.format(source=source)] = style
                marks = {"color": colour} | REPORTED_MARKS
                legend |= _draw_reported(axis, sweep, reported, marks)
            axis.set(ylim=(-2, 102), xlabel=display_name(parameter), ylabel="Success (%)")
        shared_legend(figure, legend)
    return figure


def _source(sweep: Sweep) -> str:
    return run_name(sweep.name.partition("@")[2])


def _draw_line(
    axis: Axes,
    sweep: Sweep,
    attacks: Mapping[str, AttackNorms],
    column: str,
    style: Mapping[str, Any],
) -> None:
    cells = [
        mean_with_interval(list(attacks[name].seeds.values()), share_of(column), **_BOOTSTRAP)
        for name in sweep.attacks.values()
    ]
    rates = 100 * pd.concat(cells, ignore_index=True)
    values = list(sweep.attacks)
    axis.fill_between(
        values, rates["low"], rates["high"], color=style["color"], alpha=_BAND, linewidth=0
    )
    axis.plot(
        values, rates["value"], gid=f"{sweep.name}/{column}", marker="o", markersize=3, **style
    )


def _draw_reported(
    axis: Axes, sweep: Sweep, reported: Sequence[ReportedRate], marks: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """Mark what is reported of the attacks of a sweep; return what the legend says of it."""
    numbers = {attack: number for number, attack in sweep.attacks.items()}
    shown = [rate for rate in reported if rate.attack in numbers]
    for rate in shown:
        gid = f"{rate.row}{REPORTED}"
        axis.plot(numbers[rate.attack], 100 * rate.value, gid=gid, **marks)
    return {display_name(f"{rate.row}{REPORTED}"): marks for rate in shown}
