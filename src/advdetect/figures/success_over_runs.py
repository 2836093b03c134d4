"""Success of attacks over a number in which runs differ (Papernot et al. 2016, distillation)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.errors import AdvdetectError
from advdetect.evaluation.inputs import read_norms
from advdetect.evaluation.perturbation import mean_with_interval, share_of
from advdetect.figures.plotting import (
    Canvas,
    line_style,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.io import read_provenance, read_table
from advdetect.protocol import CLEAN
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_BAND = 0.15  # opacity
_BOOTSTRAP = {"replicates": 1000, "seed": 0}
_COLUMN: dict[str, Any] = {"color": "0.35", "linestyle": ":", "linewidth": 2.2}
#: By what a curve is called and the number of a run, its images in each seed.
Curves = Mapping[str, Mapping[float, Sequence[pd.DataFrame]]]


def draw(
    files: Mapping[str, RunFiles],
    *,
    canvas: Canvas = new_figure,
    runs: Sequence[tuple[str, float]],
    parameter: str,
    feature: str,
    columns: Sequence[tuple[str, str]],
) -> FigureBase:
    """Draw it from files of attack and of a feature.

    Args:
        files: Those files by run.
        canvas: What makes the figure.
        runs: Pairs of a run and its number.
        parameter: What the number is.
        feature: The feature.
        columns: Pairs of what a column of the feature is called, and the column.

    Raises:
        AdvdetectError: No run has files.
    """
    attacks: dict[str, dict[float, Sequence[pd.DataFrame]]] = {}
    shares: dict[str, dict[float, Sequence[pd.DataFrame]]] = {}
    for label, number in runs:
        if label not in files:  # a small experiment has fewer
            continue
        paths = files[label].paths
        tables = [path for path in paths if Path(path).suffix == ".parquet"]
        clean = [read_table(p) for p in tables if read_provenance(p)["attack"] == CLEAN]
        for called, column in columns:
            shares.setdefault(called, {})[number] = [
                table[table["kind"] == CLEAN].assign(share=table[column]) for table in clean
            ]
        for attack in read_norms([path for path in paths if path not in tables]):
            named = attacks.setdefault(display_name(attack.attack), {})
            named[number] = [t.assign(share=t["success"]) for t in attack.seeds.values()]
    if not shares:
        names = ", ".join(label for label, _ in runs)
        raise AdvdetectError(f"runs: none of {names} has a file among --inputs: mend the names.")
    return success_figure(attacks, shares, display_name(parameter), canvas=canvas)


def success_figure(
    attacks: Curves, shares: Curves, parameter: str, *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the mean of the column ``share`` over the numbers of the runs, on a logarithmic axis.

    Args:
        attacks: The curve of each attack.
        shares: Curves of what is measured on clean images, which are dotted.
        parameter: What the number is.
        canvas: What makes the figure.

    Returns:
        One panel; means over seeds in percent with 95 % bootstrap bands.
    """
    marks: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.6}
    styles: dict[str, dict[str, Any]] = {
        name: marks | line_style(i) for i, name in enumerate(attacks)
    }
    styles |= dict.fromkeys(shares, marks | _COLUMN)
    with styled():
        figure, (axis,) = panels([""], width=6.4, height=4.2, canvas=canvas)
        numbers: set[float] = set()
        for name, curve in {**attacks, **shares}.items():
            at = sorted(curve)
            numbers |= set(at)
            cells = [mean_with_interval(curve[x], share_of("share"), **_BOOTSTRAP) for x in at]
            rates = 100 * pd.concat(cells, ignore_index=True)
            band = {"color": styles[name]["color"], "alpha": _BAND, "linewidth": 0}
            axis.fill_between(at, rates["low"], rates["high"], **band)
            axis.plot(at, rates["value"], gid=name, **styles[name])
        axis.set_xscale("log")
        axis.set_xticks(sorted(numbers), [f"{number:g}" for number in sorted(numbers)])
        axis.set_xticks([], minor=True)
        axis.set(ylim=(-2, 102), xlabel=parameter, ylabel="Share of the images (%)")
        shared_legend(figure, styles)
    return figure
