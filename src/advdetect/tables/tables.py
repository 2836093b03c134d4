"""The tables of a report.

A builder picks cells from the metrics of all features (the tables of `metrics.evaluate_feature`
with a column ``feature``) and returns a `Table`; `rendering` turns it into CSV, Markdown, LaTeX or
text. Rows and columns keep the order in which the metrics name them.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import (
    BOOTSTRAP_INTERVAL,
    REASON,
    RUN,
    STATISTICS,
    of_runs,
    split_runs,
)
from advdetect.evaluation.metrics import MEAN, METRICS
from advdetect.protocol import on_own_attack
from advdetect.tables.names import display_name
from advdetect.tables.table import CellFormat, Table


def detection_table(
    metrics: pd.DataFrame,
    *,
    detector: str,
    bits: str,
    positives: str,
    metric: str = "auroc",
    controls: Collection[str] = (),
) -> Table:
    """Build the table of features by attacks, trained and tested on the same attack.

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        detector: Which detector.
        bits: ``float32`` or ``8bit``.
        positives: ``successful`` or ``all``.
        metric: One of `metrics.METRICS`.
        controls: Control features and detectors, never marked as best.

    Returns:
        Mean over seeds with its 95 % interval, in percent.
    """
    chosen = _select(metrics, metric=metric, detector=detector, bits=bits, positives=positives)
    chosen = chosen[on_own_attack(chosen)]
    return Table(
        name=f"detection_{metric}_{detector}_{bits}_{positives}",
        caption=f"{display_name(metric)} in percent of {lower(detector)} detectors trained and "
        f"tested on the same attack: {display_name(positives)}, {display_name(bits)}. "
        f"{_spread_note(metrics)}",
        rows="feature",
        columns="attack",
        cells=tidy(chosen.rename(columns={"tested_on": "attack"}), ["feature", "attack"]),
        controls=controls,
    )


def cross_attack_table(
    metrics: pd.DataFrame,
    *,
    feature: str,
    detector: str,
    bits: str,
    positives: str,
    metric: str = "auroc",
) -> Table:
    """Build the table of training attacks by test attacks (Zhao et al. 2019, Table 5).

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        feature: Which feature.
        detector: Which detector.
        bits: ``float32`` or ``8bit``.
        positives: ``successful`` or ``all``.
        metric: One of `metrics.METRICS`.

    Returns:
        Mean over seeds with its 95 % interval, in percent; the best training attack of each test
        attack is marked.
    """
    chosen = _select(
        metrics,
        metric=metric,
        feature=feature,
        detector=detector,
        bits=bits,
        positives=positives,
    )
    return Table(
        name=f"cross_attack_{metric}_{feature}_{detector}_{bits}_{positives}",
        caption=f"{display_name(metric)} in percent of {display_name(feature)} with "
        f"{lower(detector)}, trained on the attack of the row and tested on the attack of the "
        f"column: {display_name(positives)}, {display_name(bits)}. All others: trained on all "
        f"attacks but that of the column. {_spread_note(metrics)}",
        rows="trained_on",
        columns="tested_on",
        cells=tidy(chosen, ["trained_on", "tested_on"]),
    )


def detector_table(
    metrics: pd.DataFrame,
    *,
    bits: str,
    positives: str,
    metric: str = "auroc",
    controls: Collection[str] = (),
) -> Table:
    """Build the table of features by detectors, averaged over the attacks that have a value.

    Args:
        metrics: Metrics of all features, with the column ``feature``.
        bits: ``float32`` or ``8bit``.
        positives: ``successful`` or ``all``.
        metric: One of `metrics.METRICS`.
        controls: Control features and detectors, never marked as best.

    Returns:
        The mean over attacks of the mean over seeds, in percent; standard_deviation is over
        attacks, low and high are the lowest and highest attack (no bootstrap interval: the cells of
        an average share their images).
    """
    chosen = _select(metrics, metric=metric, bits=bits, positives=positives)
    chosen = chosen[on_own_attack(chosen)]
    keys = [RUN, "feature", "detector"]
    cells = chosen.groupby(keys, sort=False, observed=True).agg(
        value=("value", "mean"),
        standard_deviation=("value", "std"),
        low=("value", "min"),
        high=("value", "max"),
        n_positive=("n_positive", "sum"),
        n_negative=("n_negative", "sum"),
        reason=(REASON, _first_reason),
    )
    return Table(
        name=f"detectors_{metric}_{bits}_{positives}",
        caption=f"{display_name(metric)} in percent, averaged over attacks (trained and tested on "
        "the same attack; unsupervised detectors on clean images): "
        f"{display_name(positives)}, {display_name(bits)}. In brackets the lowest and the highest "
        "attack.",
        rows="feature",
        columns="detector",
        cells=cells.reset_index().assign(interval="range over attacks")[
            [*keys, *STATISTICS, REASON]
        ],
        controls=controls,
    )


def control_table(metrics: pd.DataFrame) -> Table:
    """Build the table of features by detectors of the control, which must be 50 % everywhere.

    Args:
        metrics: Metrics of `protocol.UNCHANGED`, of all features, with the column ``feature``.

    Returns:
        Mean over seeds of the AUROC with its 95 % interval, in percent.
    """
    chosen = _select(metrics, metric="auroc")
    return Table(
        name="control",
        caption="Control: AUROC in percent of detectors that are trained and tested on clean "
        "images that took the path of an attack, unchanged. It must be 50, up to chance where a "
        f"feature draws random numbers. {_spread_note(metrics)}",
        rows="feature",
        columns="detector",
        cells=tidy(chosen, ["feature", "detector"]),
        format=CellFormat(best=False),
    )


def _select(metrics: pd.DataFrame, *, metric: str, **keys: str) -> pd.DataFrame:
    if metric not in METRICS:
        raise AdvdetectError(f"Unknown metric {metric!r}; use one of {', '.join(METRICS)}.")
    chosen = of_runs(metrics[(metrics["metric"] == metric) & (metrics["seed"] == MEAN)])
    for column, name in keys.items():
        rows = chosen[chosen[column] == name]
        if rows.empty:
            known = ", ".join(map(str, metrics[column].unique()))
            raise AdvdetectError(f"No metrics for {column} {name!r} here; there are: {known}.")
        chosen = rows
    return chosen


def tidy(chosen: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return cells with these keys, and what their low and high are."""
    interval = np.where(chosen["low"].isna(), "none", BOOTSTRAP_INTERVAL)
    columns = [RUN, *keys, *STATISTICS, REASON]
    return chosen.assign(interval=interval)[columns].reset_index(drop=True)


def lower(name: str) -> str:
    """Return a display name as it stands within a sentence."""
    shown = display_name(name)
    return shown[:1].lower() + shown[1:]


def _first_reason(reasons: pd.Series) -> str:
    """Return why an average has no value: the first reason of those that it is over."""
    return next((reason for reason in reasons if reason), "")


def _spread_note(metrics: pd.DataFrame) -> str:
    runs = split_runs(metrics[metrics["seed"] != MEAN])
    return interval_note(max(rows["seed"].nunique() for rows in runs.values()))


def interval_note(n_seeds: int) -> str:
    """Say what stands in brackets, for results of this many seeds."""
    if n_seeds == 1:
        return "One seed; in brackets the 95 % bootstrap interval over source images."
    return (
        f"Mean over {n_seeds} seeds; in brackets the 95 % bootstrap interval over seeds and source "
        "images."
    )
