"""ROC curves of every feature, each detector trained and tested on the same attack."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase

from advdetect.errors import AdvdetectError
from advdetect.evaluation.inputs import own_scores
from advdetect.figures.plotting import (
    Canvas,
    average_curve,
    line_style,
    new_figure,
    panels,
    shared_legend,
    styled,
)
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


def draw(
    files: RunFiles, *, canvas: Canvas = new_figure, detector: str, log_scale: bool = False
) -> FigureBase:
    """Draw the ROC curves of every feature from files of detect."""
    return roc_figure(own_scores(files.paths, detector), log_scale=log_scale, canvas=canvas)


def roc_figure(
    scores: Mapping[str, Mapping[int, pd.DataFrame]],
    *,
    log_scale: bool = False,
    canvas: Canvas = new_figure,
) -> FigureBase:
    """Draw ROC curves: one panel per attack, one line per feature.

    With several seeds a line is the vertical average of the seeds' curves, so the area under it is
    the mean AUROC, which the panel's legend gives (on linear axes).

    Args:
        scores: For each feature and seed the scores of one detector, bits and positives: columns
            tested_on, kind and score, trained and tested on the same attack.
        log_scale: Whether the false positive rate is logarithmic, which shows its low end.
        canvas: What makes the figure.

    Returns:
        One panel per attack; attacks without a curve for any feature are left out.
    """
    features = list(scores)
    curves: dict[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]] = {}
    smallest = 1.0
    for feature, seeds in scores.items():
        for table in seeds.values():
            for attack, cell in table.groupby("tested_on", sort=False, observed=True):
                positive = (cell["kind"] == "adversarial").to_numpy(bool)
                if positive.all() or not positive.any():
                    continue
                smallest = min(smallest, 1 / (~positive).sum())
                curve = roc_polyline(cell["score"].to_numpy(np.float64), positive)
                curves.setdefault(str(attack), {}).setdefault(feature, []).append(curve)
    if not curves:
        raise AdvdetectError("No attack has adversarials in the test part: there is no ROC curve.")
    with styled():
        figure, axes = panels(
            [display_name(attack) for attack in curves], height=3.5, canvas=canvas
        )
        for axis, lines in zip(axes, curves.values(), strict=True):
            chance = np.geomspace(smallest, 1, 200) if log_scale else np.array([0.0, 1.0])
            axis.plot(chance, chance, color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
            for feature, seeds_curves in lines.items():
                x, y = average_curve(seeds_curves)
                area = float(np.trapezoid(y, x))
                style = line_style(features.index(feature))
                axis.plot(x, y, label=f"{area:.3f}", linewidth=1.5, gid=feature, **style)
            if log_scale:
                axis.set_xscale("log")
            axis.set(
                xlim=(smallest if log_scale else -0.01, 1),
                ylim=(-0.01, 1.01),
                xlabel="False positive rate",
                ylabel="True positive rate",
            )
            if not log_scale:
                axis.legend(title="AUROC", loc="lower right", framealpha=0.85, handlelength=1.6)
        names = {display_name(name): line_style(i) for i, name in enumerate(features)}
        shared_legend(figure, names)
    return figure


def roc_polyline(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ROC polyline from (0, 0) to (1, 1), one corner per distinct score.

    Args:
        scores: (n,) scores, higher is more adversarial.
        positive: (n,) True for adversarial rows; at least one of each.

    Returns:
        False and true positive rates, each (number of distinct scores + 1,).
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true_positives = np.cumsum(positive[order])[last]
    false_positives = np.cumsum(~positive[order])[last]
    x = np.append(0, false_positives) / false_positives[-1]
    return x, np.append(0, true_positives) / true_positives[-1]
