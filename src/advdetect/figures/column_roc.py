"""ROC curves of columns of a feature (Martin & Elster 2019, Figure 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.evaluation.perturbation import (
    mean_with_interval,
)
from advdetect.figures.plotting import (
    Canvas,
    average_curve,
    legend_label,
    new_figure,
    overlapping_style,
    panels,
    styled,
)
from advdetect.figures.roc import roc_polyline
from advdetect.papers.readings import column_samples
from advdetect.papers.reproduction import auroc
from advdetect.papers.sources import read_sources
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_BOOTSTRAP = {"replicates": 1000, "seed": 0}


def draw(
    files: RunFiles,
    *,
    canvas: Canvas = new_figure,
    feature: str,
    columns: Sequence[tuple[str, str]],
    **reading: Any,
) -> FigureBase:
    """Draw it from files of feature and attack.

    Args:
        files: Of clean images and of each attack.
        canvas: What makes the figure.
        feature: Name of the feature.
        columns: Pairs: what the figure calls a column, and its name.
        reading: What counts: positives, negatives, bits.
    """
    sources = read_sources(files.paths)
    methods = {
        name: {"feature": feature, "column": column, "adversarial": "high"}
        for name, column in columns
    }
    return column_roc_figure(
        {
            attack: {
                name: column_samples(method, attack, reading, sources)
                for name, method in methods.items()
            }
            for attack in sources.norms
        },
        canvas=canvas,
    )


def column_roc_figure(
    samples: Mapping[str, Mapping[str, Sequence[pd.DataFrame]]], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the ROC curves of columns of a feature, each a score by itself.

    Args:
        samples: For each attack and column, of each seed a table with index, kind and score (higher
            is more adversarial).
        canvas: What makes the figure.

    Returns:
        One panel per attack; a line is the vertical average over seeds, and the legend gives the
        AUROC with its 95 % bootstrap interval.
    """
    with styled():
        figure, axes = panels(
            [display_name(attack) for attack in samples], width=4.4, height=4.2, canvas=canvas
        )
        for axis, columns in zip(axes, samples.values(), strict=True):
            axis.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
            for number, (column, tables) in enumerate(columns.items()):
                curves = [
                    roc_polyline(
                        table["score"].to_numpy(np.float64),
                        (table["kind"] == "adversarial").to_numpy(bool),
                    )
                    for table in tables
                ]
                area = mean_with_interval(tables, auroc, **_BOOTSTRAP).iloc[0]
                label = (
                    f"{display_name(column)}: {area['value']:.3f} "
                    f"[{area['low']:.3f}, {area['high']:.3f}]"
                )
                axis.plot(
                    *average_curve(curves),
                    label=legend_label(label),
                    linewidth=1.5,
                    gid=column,
                    **overlapping_style(number),
                )
            axis.set(
                xlim=(-0.01, 1),
                ylim=(-0.01, 1.01),
                xlabel="False positive rate",
                ylabel="True positive rate",
            )
            axis.legend(title="AUROC", loc="lower right", framealpha=0.85)
    return figure
