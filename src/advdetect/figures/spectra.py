"""Eigenvalues of the input's Fisher information against their rank."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from advdetect.figures.plotting import (
    KIND_COLOURS,
    KIND_LINES,
    LOG10,
    Canvas,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.io import read_provenance, read_table
from advdetect.protocol import CLEAN, KINDS
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_SPECTRUM = "log10_eigenvalue_"
_BANDS = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.25))  # from quantile, to quantile, opacity


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw the spectra from files of feature: clean images and attacks, all seeds together."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for path in files.paths:
        tables.setdefault(read_provenance(path)["attack"], []).append(read_table(path))
    clean = tables.pop(CLEAN)
    return eigenvalue_spectra(
        {
            attack: pd.concat([*clean, *parts], ignore_index=True).query(f"kind in {KINDS}")
            for attack, parts in tables.items()
        },
        canvas=canvas,
    )


def eigenvalue_spectra(
    spectra: Mapping[str, pd.DataFrame], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the eigenvalues of the input Fisher matrix against their rank (Zhao et al. 2019).

    Args:
        spectra: For each attack a table with kind and log10_eigenvalue_01, _02, …
        canvas: What makes the figure.

    Returns:
        One panel per attack: each kind's median, with bands from the 25 % to the 75 % and from the
        5 % to the 95 % quantile.
    """
    with styled():
        figure, axes = panels([display_name(attack) for attack in spectra], canvas=canvas)
        for axis, table in zip(axes, spectra.values(), strict=True):
            columns = sorted(name for name in table.columns if name.startswith(_SPECTRUM))
            ranks = [int(name.removeprefix(_SPECTRUM)) for name in columns]
            for kind in KINDS:
                values = table.loc[table["kind"] == kind, columns]
                if values.empty:
                    continue
                colour = KIND_COLOURS[kind]
                for low, high, opacity in _BANDS:
                    edges = values.quantile(low), values.quantile(high)
                    axis.fill_between(ranks, *edges, color=colour, alpha=opacity, linewidth=0)
                axis.plot(ranks, values.median(), color=colour, marker="o", markersize=3, gid=kind)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            axis.set(xlabel="Rank of the eigenvalue", ylabel=f"{LOG10} eigenvalue")
        shared_legend(figure, KIND_LINES)
    return figure
