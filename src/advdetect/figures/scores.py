"""How the scores of one feature's detector are distributed."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from advdetect.evaluation.inputs import own_scores
from advdetect.figures.plotting import (
    KIND_COLOURS,
    KIND_LINES,
    Canvas,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.protocol import KINDS
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


def draw(files: RunFiles, *, canvas: Canvas = new_figure, detector: str) -> FigureBase:
    """Draw the score histograms from files of detect of one feature, all seeds together."""
    (by_seed,) = own_scores(files.paths, detector).values()
    return score_histograms(pd.concat(by_seed.values(), ignore_index=True), canvas=canvas)


def score_histograms(scores: pd.DataFrame, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw how the scores of clean, noisy and adversarial images are distributed.

    Args:
        scores: Scores of one feature, detector, bits and positives: columns tested_on, kind, score.
        canvas: What makes the figure.

    Returns:
        One panel per attack; each kind's histogram has area 1.
    """
    attacks = [str(name) for name in scores["tested_on"].unique()]
    with styled():
        figure, axes = panels(
            [display_name(attack) for attack in attacks], height=2.6, canvas=canvas
        )
        for axis, attack in zip(axes, attacks, strict=True):
            cell = scores[scores["tested_on"] == attack]
            finite = cell[np.isfinite(cell["score"].to_numpy(np.float64))]
            draw_histograms(axis, finite, bins=40)
            axis.set(xlabel="Score", ylabel="Density")
        shared_legend(figure, KIND_LINES)
    return figure


def draw_histograms(axis: Axes, table: pd.DataFrame, *, bins: int | np.ndarray) -> None:
    """Draw a histogram of area 1 for each kind of image.

    Args:
        axis: Where.
        table: Columns kind and score.
        bins: Their number, or their borders.
    """
    kinds = [kind for kind in KINDS if (table["kind"] == kind).any()]
    # Adversarials last would hide the clean ones; outlines keep all three visible.
    sns.histplot(
        table,
        x="score",
        hue="kind",
        hue_order=kinds,
        palette={kind: KIND_COLOURS[kind] for kind in kinds},
        stat="density",
        common_norm=False,
        element="step",
        bins=bins,
        alpha=0.22,
        linewidth=1.2,
        legend=False,
        ax=axis,
    )
