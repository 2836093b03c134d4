"""Certified accuracy over the radius (Cohen et al. 2019, Figures 6 and 7)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.evaluation.certified import (
    SmoothedClassifier,
    certified_at,
    read_smoothed,
    standing_at,
)
from advdetect.evaluation.perturbation import Statistic, mean_with_interval
from advdetect.figures.plotting import Canvas, line_style, new_figure, panels, styled
from advdetect.runs import RunFiles

_RADII = 301
_BAND = 0.15  # opacity
_BASE = {"color": "0.35", "linewidth": 1.2}
_ATTACKED = {"linestyle": ":", "linewidth": 1.3}


def draw(
    files: RunFiles,
    *,
    canvas: Canvas = new_figure,
    alpha: float,
    replicates: int,
    bootstrap_seed: int,
) -> FigureBase:
    """Draw it from files of certify.

    Args:
        files: Those files.
        canvas: What makes the figure.
        alpha: Probability that a certificate is wrong.
        replicates: Number of bootstrap replicates.
        bootstrap_seed: Seed of the bootstrap.
    """
    classifiers = read_smoothed(files.paths, alpha)
    bootstrap = {"replicates": replicates, "seed": bootstrap_seed}
    return certified_accuracy_figure(classifiers, canvas=canvas, **bootstrap)


def certified_accuracy_figure(
    classifiers: Sequence[SmoothedClassifier],
    *,
    canvas: Canvas = new_figure,
    replicates: int,
    seed: int,
) -> FigureBase:
    """Draw the certified accuracy of each σ against the radius.

    Args:
        classifiers: One for each σ.
        canvas: What makes the figure.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.

    Returns:
        One panel. A solid line for each σ, with its 95 % interval as a band; dotted in the same
        colour what the attacks leave of the smoothed classifier's accuracy; in grey the base
        classifier without noise, on clean images (a mark at 0) and under the attacks.

    Raises:
        AdvdetectError: There is nothing to draw.
    """
    if not classifiers:
        raise AdvdetectError("Certified accuracy is drawn of files from certify: there is none.")
    longest = 1.05 * max(one.largest_radius for one in classifiers)
    radii = np.linspace(0, longest, _RADII)
    legend: dict[str, Mapping[str, Any]] = {}
    with styled():
        figure, (axis,) = panels([""], width=8.4, height=4.0, canvas=canvas)

        def line(of: SmoothedClassifier, statistic: Statistic, gid: str, **style: Any) -> None:
            _draw(axis, of, statistic, radii, replicates, seed, gid, style)

        for position, one in enumerate(classifiers):
            style = line_style(position) | {"linewidth": 1.6}
            line(one, certified_at(radii), f"certified {one.sigma:g}", **style)
            legend[f"σ = {one.sigma:g}"] = style
            if one.attacks:
                line(one, standing_at(radii), f"attacked {one.sigma:g}", **style | _ATTACKED)
        legend["Certified"] = {"color": "black", "linewidth": 1.6}
        if any(one.attacks for one in classifiers):
            legend["Under attack"] = {"color": "black"} | _ATTACKED
        first = classifiers[0]  # the base classifier is the same for each σ
        mark = _BASE | {"marker": "D", "markersize": 5, "linestyle": "none"}
        line(first, standing_at(radii[:1], "base_broken"), "base", clip_on=False, **mark)
        legend["Base, clean images"] = mark
        if any(one.attacks for one in classifiers):
            style = _BASE | _ATTACKED
            attacked = next(one for one in classifiers if one.attacks)
            line(attacked, standing_at(radii, "base_broken"), "base attacked", **style)
            legend["Base, under attack"] = style
        axis.set(ylim=(-1, 101), xlabel="L2 radius", ylabel="Accuracy (%)")
        axis.set_xlim(0, longest)
        handles = [Line2D([], [], **style) for style in legend.values()]
        # At the side: above it is the name of the run, where there are several.
        figure.legend(handles, list(legend), loc="outside right upper", frameon=False)
    return figure


def _draw(
    axis: Axes,
    of: SmoothedClassifier,
    statistic: Statistic,
    radii: NDArray[np.float64],
    replicates: int,
    seed: int,
    gid: str,
    style: Mapping[str, Any],
) -> None:
    tables = list(of.seeds.values())
    shares = 100 * mean_with_interval(tables, statistic, replicates=replicates, seed=seed)
    where = radii[: len(shares)]
    if style.get("linestyle") == "-":  # what is certified; bands of all would hide it
        band = {"color": style["color"], "alpha": _BAND, "linewidth": 0}
        axis.fill_between(where, shares["low"], shares["high"], **band)
    axis.plot(where, shares["value"], gid=gid, **style)
