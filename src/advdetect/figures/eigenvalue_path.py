"""The largest eigenvalue along adversarial perturbations (Zhao et al. 2019, Figure 4)."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.figures.plotting import (
    LOG10,
    Canvas,
    line_style,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.io import read_provenance, read_table
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw it from files of eigenvalue-path."""
    return eigenvalue_path_figure(
        {read_provenance(path)["attack"]: read_table(path) for path in files.paths}, canvas=canvas
    )


def eigenvalue_path_figure(
    paths: Mapping[str, pd.DataFrame], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the largest eigenvalue along adversarial perturbations (Zhao et al. 2019, Figure 4).

    Args:
        paths: For each attack a row per image and point of its path: index, l2 (distance from the
            clean image, in pixel units of [0, 1]), log10_eigenvalue, and fooled (whether the point
            is classified wrongly).
        canvas: What makes the figure.

    Returns:
        One panel per attack, a line per image; a cross marks where the class changes.
    """
    with styled():
        figure, axes = panels(
            [display_name(attack) for attack in paths], width=4.4, height=3.6, canvas=canvas
        )
        for axis, table in zip(axes, paths.values(), strict=True):
            for number, (_, path) in enumerate(table.groupby("index", sort=False)):
                path = path.sort_values("l2")
                style = line_style(number)
                axis.plot(path["l2"], path["log10_eigenvalue"], linewidth=1.3, **style)
                for _, point in path[path["fooled"]].head(1).iterrows():
                    mark = {"color": style["color"], "ms": 7, "mew": 2}
                    axis.plot(point["l2"], point["log10_eigenvalue"], "x", **mark)
            axis.set_xlim(left=0)
            axis.set(xlabel="L2 distance from the image", ylabel=f"{LOG10} top eigenvalue")
        changed = {"color": "0.3", "marker": "x", "linestyle": "", "markersize": 7}
        shared_legend(figure, {"the class changes": changed})
    return figure
