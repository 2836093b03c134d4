"""Figures of perturbations: fooling rate against norm, top eigenvalue against least perturbation.

Figures 2, 3 and 4 (right) of Zhao et al. 2019.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from advdetect.errors import AdvdetectError
from advdetect.evaluation.names import display_name
from advdetect.evaluation.perturbation import (
    AttackNorms,
    fooled_within,
    fooling_rate,
    mean_with_interval,
    rank_correlation,
)
from advdetect.evaluation.plotting import PALETTE, panels, shared_legend, styled
from advdetect.evaluation.sweeps import number_of, without

_SWEPT = "epsilon"
_LEVEL = 0.9  # the fooling rate at which Zhao et al. compare attacks
_RADII = 201
_BAND = 0.15  # opacity
_BOOTSTRAP = {"replicates": 1000, "seed": 0}


def fooling_rate_figure(attacks: Sequence[AttackNorms]) -> Figure:
    """Draw the fooling rate against the L2 norm of the perturbation (Zhao et al. 2019, Figure 2).

    An attack of the minimal-norm kind is a curve: the share of images whose least norm is at most
    that of the axis. A sweep of a budget, ``fgsm,epsilon=0.1`` and so on, is a line through one
    point for each ε: the rate against the mean norm over all images. Lines are solid for one-step
    attacks and dashed for iterated ones; rates are means over seeds with 95 % bootstrap bands. The
    legend gives the norm at which a curve reaches 90 %.

    Args:
        attacks: The attacks; those of neither sort are left out.

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
        figure, (axis,) = panels([""], width=6.4, height=4.2)
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


def eigenvalue_perturbation_figure(
    attacks: Mapping[str, Mapping[int, pd.DataFrame]],
) -> Figure:
    """Draw the top eigenvalue of clean images against their least perturbation.

    Zhao et al. 2019, Figure 3. The title gives Spearman's ρ, a mean over seeds with its 95 %
    bootstrap interval; below 0, images of large eigenvalues are easier to fool.

    Args:
        attacks: For each attack and seed a table of the images that were fooled: index,
            log10_eigenvalue (the largest of the input Fisher matrix at the clean image) and l2 (the
            norm of the least perturbation, in pixel units of [0, 1]).

    Returns:
        One panel per attack, with one point per image of each seed.
    """
    with styled():
        figure, axes = panels([display_name(attack) for attack in attacks])
        for axis, (attack, seeds) in zip(axes, attacks.items(), strict=True):
            tables = list(seeds.values())
            points = pd.concat(tables)
            axis.scatter(
                points["log10_eigenvalue"],
                points["l2"],
                s=7,
                alpha=0.35,
                linewidth=0,
                color=PALETTE[0],
                gid=attack,
                rasterized=True,  # thousands of points would make the SVG heavy
            )
            rho = mean_with_interval(
                tables, rank_correlation("log10_eigenvalue", "l2"), **_BOOTSTRAP
            ).iloc[0]
            if not np.isnan(rho["value"]):
                low, high = _signed(rho["low"]), _signed(rho["high"])
                axis.set_title(
                    f"{display_name(attack)}\nρ = {_signed(rho['value'])} [{low}, {high}]"
                )
            axis.set_ylim(bottom=0)
            axis.set(xlabel=r"$\log_{10}$ top eigenvalue, clean", ylabel="Least perturbation, L2")
    return figure


def eigenvalue_path_figure(paths: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the largest eigenvalue along adversarial perturbations (Zhao et al. 2019, Figure 4).

    Args:
        paths: For each attack a row per image and point of its path: index, l2 (distance from the
            clean image, in pixel units of [0, 1]), log10_eigenvalue, and fooled (whether the point
            is classified wrongly).

    Returns:
        One panel per attack, a line per image; a cross marks where the class changes.
    """
    with styled():
        figure, axes = panels([display_name(attack) for attack in paths], width=4.4, height=3.6)
        for axis, table in zip(axes, paths.values(), strict=True):
            for number, (_, path) in enumerate(table.groupby("index", sort=False)):
                path = path.sort_values("l2")
                colour = PALETTE[number % len(PALETTE)]
                axis.plot(path["l2"], path["log10_eigenvalue"], color=colour, linewidth=1.3)
                for _, point in path[path["fooled"]].head(1).iterrows():
                    axis.plot(
                        point["l2"], point["log10_eigenvalue"], "x", color=colour, ms=7, mew=2
                    )
            axis.set_xlim(left=0)
            axis.set(xlabel="L2 distance from the image", ylabel=r"$\log_{10}$ top eigenvalue")
        changed = {"color": "0.3", "marker": "x", "linestyle": "", "markersize": 7}
        shared_legend(figure, {"the class changes": changed})
    return figure


def _style(position: int, one_step: bool) -> dict[str, Any]:
    colour = PALETTE[position % len(PALETTE)]
    return {"color": colour, "linestyle": "-" if one_step else "--", "linewidth": 1.6}


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


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
