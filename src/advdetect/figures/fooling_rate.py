"""Fooling rate against the norm of the perturbation (Zhao et al. 2019, Figure 2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from advdetect.errors import AdvdetectError
from advdetect.evaluation.inputs import read_norms
from advdetect.evaluation.perturbation import (
    AttackNorms,
    fooled_within,
    fooling_rate,
    mean_with_interval,
)
from advdetect.evaluation.sweeps import number_of, without
from advdetect.figures.plotting import (
    Canvas,
    line_style,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_SWEPT = "epsilon"
_LEVEL = 0.9  # the fooling rate at which Zhao et al. compare attacks
_RADII = 201
_BAND = 0.15  # opacity
_BOOTSTRAP = {"replicates": 1000, "seed": 0}
#: Of attacks of one step, and of others: 24 curves all differ.
_DASHES: dict[bool, Sequence[Any]] = {
    True: ("-", "-.", (0, (7, 1.5, 1, 1.5, 1, 1.5))),
    False: ("--", ":", (0, (3, 3.5))),
}


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw the fooling rates of minimal-norm attacks and sweeps of epsilon from files of attack."""
    return fooling_rate_figure(read_norms(files.paths), canvas=canvas)


def fooling_rate_figure(
    attacks: Sequence[AttackNorms], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the fooling rate against the L2 norm of the perturbation (Zhao et al. 2019, Figure 2).

    An attack of the minimal-norm kind is a curve: the share of images whose least norm is at most
    that of the axis. A sweep of a budget, ``fgsm,epsilon=0.1`` and so on, is a line through one
    point for each ε: the rate against the mean norm over all images. Lines are solid, or of dots
    and dashes, for one-step attacks and dashed or dotted for iterated ones; rates are means over
    seeds with 95 % bootstrap bands. The legend gives the norm at which a curve reaches 90 %.

    Args:
        attacks: The attacks; those of neither sort are left out.
        canvas: What makes the figure.

    Returns:
        One panel.

    Raises:
        AdvdetectError: There is neither a minimal-norm attack nor a sweep of epsilon.
    """
    curves = [attack for attack in attacks if attack.minimal_norm]
    sweeps: dict[str, list[AttackNorms]] = {}
    for attack in attacks:
        if not attack.minimal_norm and number_of(attack.attack, _SWEPT) is not None:
            sweeps.setdefault(without(attack.attack, _SWEPT), []).append(attack)
    if not curves and not sweeps:
        raise AdvdetectError(
            "There is no fooling rate to draw: it needs an attack of the minimal-norm kind or a "
            "sweep of epsilon."
        )
    with styled():
        figure, (axis,) = panels([""], width=6.4, height=4.2, canvas=canvas)
        axis.axhline(100 * _LEVEL, color="0.35", linewidth=0.9, linestyle=":")
        furthest = max((_longest(attack) for attack in curves), default=0.0)
        legend: dict[str, dict[str, Any]] = {}
        for attack in curves:
            style = _style(len(legend), attack.one_step)
            _draw_curve(axis, attack, np.linspace(0, furthest, _RADII), style)
            radius = _radius_at(attack, _LEVEL)
            reached = "" if radius is None else f" ({100 * _LEVEL:.0f} % at {radius:.2f})"
            legend[f"{display_name(attack.attack)}{reached}"] = style
        for name, points in sweeps.items():
            style = _style(len(legend), points[0].one_step) | {"marker": "o", "markersize": 4}
            _draw_sweep(axis, name, points, style)
            legend[f"{display_name(name)}, sweep of ε"] = style
        axis.set(ylim=(-1, 101), xlabel="L2 norm of the perturbation", ylabel="Fooling rate (%)")
        axis.set_xlim(left=0)
        shared_legend(figure, legend)
    return figure


def _style(position: int, one_step: bool) -> dict[str, Any]:
    return line_style(position, _DASHES[one_step]) | {"linewidth": 1.6}


def _draw_curve(
    axis: Axes, attack: AttackNorms, radii: np.ndarray, style: Mapping[str, Any]
) -> None:
    rates = 100 * mean_with_interval(
        list(attack.seeds.values()), fooled_within(radii), **_BOOTSTRAP
    )
    axis.fill_between(
        radii, rates["low"], rates["high"], color=style["color"], alpha=_BAND, linewidth=0
    )
    axis.plot(radii, rates["value"], gid=attack.attack, **style)


def _draw_sweep(
    axis: Axes, name: str, points: Sequence[AttackNorms], style: Mapping[str, Any]
) -> None:
    norms = [
        float(np.mean([table["l2"].mean() for table in point.seeds.values()])) for point in points
    ]
    cells = [
        mean_with_interval(list(point.seeds.values()), fooling_rate, **_BOOTSTRAP)
        for point in points
    ]
    rates = 100 * pd.concat(cells, ignore_index=True).iloc[np.argsort(norms)]
    norms.sort()
    axis.fill_between(
        norms, rates["low"], rates["high"], color=style["color"], alpha=_BAND, linewidth=0
    )
    axis.plot(norms, rates["value"], gid=name, **style)


def _longest(attack: AttackNorms) -> float:
    return max(
        (float(table.loc[table["success"], "l2"].max()) for table in attack.seeds.values()
         if table["success"].any()),
        default=0.0,
    )  # fmt: skip


def _radius_at(attack: AttackNorms, level: float) -> float | None:
    """Return the smallest norm within which that share of images is fooled, mean over seeds."""
    tables = list(attack.seeds.values())
    norms = np.sort(pd.concat(tables).query("success")["l2"].to_numpy())
    within = fooled_within(norms)
    shares = np.mean([within(table, np.ones((1, len(table))))[:, 0] for table in tables], axis=0)
    reached = np.flatnonzero(shares >= level)
    return float(norms[reached[0]]) if len(reached) else None
