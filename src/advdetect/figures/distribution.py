"""How a column of a feature is distributed (Zhao et al. 2019, Figure 4, left)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.figures.plotting import (
    KIND_LINES,
    Canvas,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.figures.scores import draw_histograms
from advdetect.papers.readings import column_samples
from advdetect.papers.sources import read_sources
from advdetect.protocol import KINDS
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


def draw(
    files: RunFiles,
    *,
    canvas: Canvas = new_figure,
    feature: str,
    columns: Sequence[tuple[str, str]],
    **reading: Any,
) -> FigureBase:
    """Draw it from files of feature and attack, all seeds together.

    Args:
        files: Of clean images and of each attack.
        canvas: What makes the figure.
        feature: Name of the feature.
        columns: One pair: what the figure calls the column, and its name.
        reading: What counts: positives, negatives, bits.
    """
    sources = read_sources(files.paths)
    ((label, column),) = columns
    method = {"feature": feature, "column": column, "adversarial": "high"}
    return distribution_figure(
        {
            attack: pd.concat(column_samples(method, attack, reading, sources), ignore_index=True)
            for attack in sources.norms
        },
        label,
        canvas=canvas,
    )


def distribution_figure(
    values: Mapping[str, pd.DataFrame], label: str, *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw how one column of a feature is distributed over clean, noisy and adversarial images.

    Args:
        values: For each attack a table with the columns kind and score, all seeds together.
        label: What the values are.
        canvas: What makes the figure.

    Returns:
        One panel per attack, on common axes; each kind's histogram has area 1.
    """
    together = pd.concat(values.values())
    every = together["score"]
    bins = np.histogram_bin_edges(every[np.isfinite(every)], bins=50)
    with styled():
        figure, axes = panels(
            [display_name(attack) for attack in values], height=2.6, canvas=canvas
        )
        for axis, table in zip(axes, values.values(), strict=True):
            draw_histograms(axis, table, bins=bins)
            axis.set(xlabel=label, ylabel="Density")
        shown = {
            kind: KIND_LINES[kind] for kind in KINDS if (pd.concat(values)["kind"] == kind).any()
        }
        shared_legend(figure, shown)
    return figure
