"""Figures of detection: ROC curves, score histograms, cross-attack maps, spectra, training curves.

Every function takes tables and returns a matplotlib figure; nothing is shown or written here.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from advdetect.errors import AdvdetectError
from advdetect.evaluation.metrics import MEAN
from advdetect.evaluation.names import NO_VALUE, display_name
from advdetect.evaluation.plotting import (
    KIND_COLOURS,
    KIND_LINES,
    average_curve,
    line_style,
    panels,
    shared_legend,
    styled,
)
from advdetect.protocol import KINDS

_SPECTRUM = "log10_eigenvalue_"
_BANDS = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.25))  # from quantile, to quantile, opacity


def roc_figure(
    scores: Mapping[str, Mapping[int, pd.DataFrame]], *, log_scale: bool = False
) -> Figure:
    """Draw ROC curves: one panel per attack, one line per feature.

    With several seeds a line is the vertical average of the seeds' curves, so the area under it is
    the mean AUROC, which the panel's legend gives (on linear axes).

    Args:
        scores: For each feature and seed the scores of one detector, bits and positives: columns
            tested_on, kind and score, trained and tested on the same attack.
        log_scale: Whether the false positive rate is logarithmic, which shows its low end.

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
        figure, axes = panels([display_name(attack) for attack in curves], height=3.5)
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


def score_histograms(scores: pd.DataFrame) -> Figure:
    """Draw how the scores of clean, noisy and adversarial images are distributed.

    Args:
        scores: Scores of one feature, detector, bits and positives: columns tested_on, kind, score.

    Returns:
        One panel per attack; each kind's histogram has area 1.
    """
    attacks = [str(name) for name in scores["tested_on"].unique()]
    with styled():
        figure, axes = panels([display_name(attack) for attack in attacks], height=2.6)
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


def cross_attack_heatmap(metrics: pd.DataFrame, *, metric: str = "auroc") -> Figure:
    """Draw the cross-attack tables of several features.

    Args:
        metrics: Metrics of one detector, bits and positives: feature, trained_on, tested_on,
            metric, seed, value.
        metric: Which metric; values in [0, 1].

    Returns:
        One panel per feature: rows are training attacks, columns test attacks, in percent; "–"
        where there is no value.
    """
    chosen = metrics[(metrics["metric"] == metric) & (metrics["seed"] == MEAN)]
    features = list(chosen["feature"].unique())
    rows, columns = (list(chosen[key].unique()) for key in ("trained_on", "tested_on"))
    cells = pd.MultiIndex.from_product([rows, columns])
    across = 3 if len(columns) <= 6 else 2
    titles = [display_name(feature) for feature in features]
    with styled():
        figure, axes = panels(
            titles,
            width=max(2.8, 1.3 + 0.48 * len(columns), 0.4 + 0.09 * max(map(len, titles))),
            height=max(2.2, 1.2 + 0.42 * len(rows)),
            most=across,
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


def eigenvalue_spectra(spectra: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the eigenvalues of the input Fisher matrix against their rank (Zhao et al. 2019).

    Args:
        spectra: For each attack a table with kind and log10_eigenvalue_01, _02, …

    Returns:
        One panel per attack: each kind's median, with bands from the 25 % to the 75 % and from the
        5 % to the 95 % quantile.
    """
    with styled():
        figure, axes = panels([display_name(attack) for attack in spectra])
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
            axis.set(xlabel="Rank of the eigenvalue", ylabel=r"$\log_{10}$ eigenvalue")
        shared_legend(figure, KIND_LINES)
    return figure


def training_curves(histories: Mapping[int, Sequence[Mapping[str, float]]]) -> Figure:
    """Draw losses and accuracies against the epoch.

    Args:
        histories: For each seed one mapping per epoch, with ``epoch`` (else its position from 1)
            and values whose names contain ``loss`` or ``accuracy``.

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
        figure, axes = panels([word.capitalize() for word in groups], width=3.8)
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
