"""Losses and accuracies of the training, epoch by epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from advdetect.errors import AdvdetectError
from advdetect.figures.plotting import (
    Canvas,
    line_style,
    new_figure,
    panels,
    styled,
)
from advdetect.files.texts import read_json
from advdetect.runs import RunFiles


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw the training curves of every seed from the metrics of train."""
    metrics = [read_json(path) for path in files.paths if Path(path).suffix == ".json"]
    if not metrics or any("history" not in run for run in metrics):
        raise AdvdetectError("Training is drawn of the histories of train: give those as --inputs.")
    return training_curves({run["seed"]: run["history"] for run in metrics}, canvas=canvas)


def training_curves(
    histories: Mapping[int, Sequence[Mapping[str, float]]], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw losses and accuracies against the epoch.

    Args:
        histories: For each seed one mapping per epoch, with ``epoch`` (else its position from 1)
            and values whose names contain ``loss`` or ``accuracy``.
        canvas: What makes the figure.

    Returns:
        A panel for each of the two that occurs; one colour per quantity, one line per seed.
    """
    table = pd.concat(
        [
            pd.DataFrame({"epoch": np.arange(1, len(history) + 1), **pd.DataFrame(list(history))})
            for history in histories.values()
        ],
        keys=[str(seed) for seed in histories],
        names=["seed"],
    ).reset_index(level="seed")
    groups = {
        word: [name for name in table.columns if word in name] for word in ("loss", "accuracy")
    }
    groups = {word: names for word, names in groups.items() if names}
    with styled():
        figure, axes = panels([word.capitalize() for word in groups], width=3.8, canvas=canvas)
        for axis, (word, names) in zip(axes, groups.items(), strict=True):
            for position, name in enumerate(names):
                label = name.replace("_", " ")
                for _, run in table.groupby("seed", sort=False):
                    marker = "o" if len(run) < 25 else ""
                    axis.plot(
                        run["epoch"],
                        run[name],
                        label=label,
                        gid=name,
                        linewidth=1.3,
                        marker=marker,
                        markersize=3,
                        **line_style(position),
                    )
                    label = "_nolegend_"
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
            axis.set(xlabel="Epoch", ylabel=word.capitalize())
            axis.legend()
    return figure
