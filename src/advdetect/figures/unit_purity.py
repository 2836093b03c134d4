"""How pure the classes are of the images that excite units, beside those of random directions."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.figures.plotting import PALETTE, Canvas, new_figure, panels, styled
from advdetect.io import read_provenance, read_table
from advdetect.runs import RunFiles

_KINDS = {"unit": "single units", "random": "random directions"}


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw it of a file of units."""
    (path,) = files.paths
    return unit_purity(read_table(path), read_provenance(path)["tests"], canvas=canvas)


def unit_purity(
    table: pd.DataFrame, tests: Mapping[str, Any], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the distributions of the class purity, of the trained network and of the untrained one.

    Args:
        table: The columns network, direction, purity.
        tests: By network, of ``purity`` the means (``unit``, ``random``) and ``p``.
        canvas: What makes the figure.
    """
    columns = [name for name in table if str(name).startswith("image_")]
    shares = np.arange(1, len(columns) + 1) / len(columns)
    colours = dict(zip(_KINDS, PALETTE[1:], strict=False))
    with styled():
        titles = [f"{name}, p = {test['purity']['p']:.2g}" for name, test in tests.items()]
        figure, axes = panels(titles, height=2.4, canvas=canvas)
        for (name, test), axis in zip(tests.items(), axes, strict=True):
            for place, kind in enumerate(_KINDS):
                own = table[(table["network"] == name) & (table["direction"] == kind)]
                # Shares of the directions, at each number of images of the commonest class.
                found = [np.isclose(own["purity"], share).mean() for share in shares]
                at = np.arange(1, len(shares) + 1) + 0.4 * (place - 0.5)
                axis.bar(at, found, width=0.4, color=colours[kind], gid=kind, label=_KINDS[kind])
                mean = test["purity"][kind] * len(shares)
                axis.axvline(mean, color=colours[kind], linestyle="--", linewidth=1)
            axis.set(xlabel=f"Images of one class among {len(shares)}", ylabel="Share")
        axes[-1].legend(loc="upper right", fontsize=7)
    return figure
