"""The largest eigenvalue of clean images against their least perturbation."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.evaluation.inputs import read_norms
from advdetect.evaluation.perturbation import (
    mean_with_interval,
    rank_correlation,
)
from advdetect.figures.plotting import (
    LOG10,
    PALETTE,
    Canvas,
    new_figure,
    panels,
    styled,
)
from advdetect.io import read_provenance, read_table
from advdetect.provenance import ATTACKS
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_TOP_EIGENVALUE = "log10_eigenvalue_01"
_BOOTSTRAP = {"replicates": 1000, "seed": 0}


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw it from files of attack and, of the clean images, of feature."""
    attacks, eigenvalues = [], {}
    for path in files.paths:
        facts = read_provenance(path)
        if facts["step"] in ATTACKS:
            attacks.append(path)
        else:
            eigenvalues[facts["seed"]] = read_table(path)[["index", _TOP_EIGENVALUE]].rename(
                columns={_TOP_EIGENVALUE: "log10_eigenvalue"}
            )
    return eigenvalue_perturbation_figure(
        {
            norms.attack: {
                seed: table[table["success"]].merge(eigenvalues[seed], on="index")
                for seed, table in norms.seeds.items()
            }
            for norms in read_norms(attacks)
        },
        canvas=canvas,
    )


def eigenvalue_perturbation_figure(
    attacks: Mapping[str, Mapping[int, pd.DataFrame]], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the top eigenvalue of clean images against their least perturbation.

    Zhao et al. 2019, Figure 3. The title gives Spearman's ρ, a mean over seeds with its 95 %
    bootstrap interval; below 0, images of large eigenvalues are easier to fool.

    Args:
        attacks: For each attack and seed a table of the images that were fooled: index,
            log10_eigenvalue (the largest of the input Fisher matrix at the clean image) and l2 (the
            norm of the least perturbation, in pixel units of [0, 1]).
        canvas: What makes the figure.

    Returns:
        One panel per attack, with one point per image of each seed.
    """
    with styled():
        figure, axes = panels([display_name(attack) for attack in attacks], canvas=canvas)
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
            axis.set(xlabel=f"{LOG10} top eigenvalue, clean", ylabel="Least perturbation, L2")
    return figure


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
