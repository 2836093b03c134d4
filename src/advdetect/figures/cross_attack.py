"""The cross-attack tables of all features as maps."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import FigureBase

from advdetect.evaluation.cells import METRICS_TABLE
from advdetect.evaluation.inputs import select
from advdetect.evaluation.metrics import MEAN
from advdetect.figures.plotting import (
    Canvas,
    new_figure,
    panels,
    styled,
)
from advdetect.runs import RunFiles
from advdetect.tables.names import NO_VALUE, display_name


def draw(files: RunFiles, *, canvas: Canvas = new_figure, detector: str) -> FigureBase:
    """Draw the maps from files of evaluate."""
    return cross_attack_heatmap(select(files.frame(METRICS_TABLE), detector), canvas=canvas)


def cross_attack_heatmap(
    metrics: pd.DataFrame, *, metric: str = "auroc", canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the cross-attack tables of several features.

    Args:
        metrics: Metrics of one detector, bits and positives: feature, trained_on, tested_on,
            metric, seed, value.
        metric: Which metric; values in [0, 1].
        canvas: What makes the figure.

    Returns:
        One panel per feature: rows are training attacks, columns test attacks, in percent; "–"
        where there is no value.
    """
    chosen = metrics[(metrics["metric"] == metric) & (metrics["seed"] == MEAN)]
    features = list(chosen["feature"].unique())
    rows, columns = (list(chosen[key].unique()) for key in ("trained_on", "tested_on"))
    cells = pd.MultiIndex.from_product([rows, columns])
    across = 2 if len(columns) <= 6 else 1
    titles = [display_name(feature) for feature in features]
    with styled():
        figure, axes = panels(
            titles,
            width=max(2.8, 1.3 + 0.48 * len(columns), 0.4 + 0.09 * max(map(len, titles))),
            height=max(2.2, 1.2 + 0.42 * len(rows)),
            most=across,
            canvas=canvas,
        )
        colours = sns.color_palette("YlGnBu", as_cmap=True).with_extremes(bad="0.9")
        lowest = min(50.0, float(np.floor(100 * chosen["value"].min())))
        for position, (axis, feature) in enumerate(zip(axes, features, strict=True)):
            cell = chosen[chosen["feature"] == feature]
            values = cell.set_index(["trained_on", "tested_on"])["value"].reindex(cells)
            grid = 100 * values.to_numpy(np.float64).reshape(len(rows), len(columns))
            axis.grid(False)
            picture = axis.imshow(grid, cmap=colours, vmin=lowest, vmax=100, aspect="auto")
            for (row, column), value in np.ndenumerate(grid):
                dark = value > lowest + 0.6 * (100 - lowest)
                axis.text(
                    column,
                    row,
                    NO_VALUE if np.isnan(value) else f"{value:.0f}",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                    fontsize=8.5,
                )
            axis.tick_params(length=0)
            axis.set_xticks(range(len(columns)), [])
            axis.set_yticks(range(len(rows)), [])
            if position % across == 0:
                axis.set_yticklabels([display_name(name) for name in rows])
                axis.set_ylabel("Trained on")
            if position < across:
                # On top, because every column of panels has a first row but not a last one.
                axis.xaxis.tick_top()
                axis.xaxis.set_label_position("top")
                names = [display_name(name) for name in columns]
                axis.set_xticklabels(names, rotation=45, ha="left")
                axis.set_xlabel("Tested on")
        bar = figure.colorbar(picture, ax=axes, aspect=30, fraction=0.05, pad=0.02)
        bar.set_label(f"{display_name(metric)} (%)")
        bar.outline.set_visible(False)
    return figure
