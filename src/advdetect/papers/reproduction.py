"""Reported against reproduced: what a paper reports beside what came out here, cell by cell.

A paper leaves choices open. Each set of choices that it may have meant is a *reading*, and all
readings are compared with the same reported values, so that one sees which of them explains these.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import BOOTSTRAP_INTERVAL, STATISTICS
from advdetect.evaluation.perturbation import Statistic, mean_with_interval
from advdetect.evaluation.ranking import detection_metrics

#: Where the reported value lies: inside our 95 % interval, or ours is above or below it.
WITHIN, ABOVE, BELOW = "within", "above", "below"
VERDICTS = (WITHIN, ABOVE, BELOW)
#: Columns that name a cell. The column is empty where the quantity says it all.
KEYS = ["row", "column", "quantity"]
_PERCENT_SUFFIX = "_percent"
#: Quantities that are norms, in pixel units of [0, 1].
NORMS = ("least_l2", "norm_at_rate")
#: Quantities that are shares of the images, which may be none or all of them.
SHARES = ("fooling_rate", "defense_accuracy", "train_error", "test_error")


@dataclass(frozen=True)
class Cell:
    """One cell of a reproduced table: what it is computed from.

    Attributes:
        row: Name of its row in the paper's table.
        column: Name of its column, perhaps empty.
        quantity: What is computed: ``auroc``, ``fooling_rate``, ``least_l2``, ….
        seeds: Of each seed a table with the column ``index`` of source images.
        statistic: What is computed of each.
    """

    row: str
    column: str
    quantity: str
    seeds: Sequence[pd.DataFrame]
    statistic: Statistic


def reported_cells(
    table: pd.DataFrame,
    *,
    dataset: str,
    rows: Sequence[str],
    columns: str | None,
    values: Mapping[str, str],
) -> pd.DataFrame:
    """Return the values that a paper reports, in long form.

    Args:
        table: As in ``config/reference/``. Where it has the column ``dataset``, only its rows for
            ours count.
        dataset: Name of the data set.
        rows: The columns that together name a row, as in ``cw_l2,kappa=5``.
        columns: The column that names a column; None where the quantities are the columns.
        values: By column of values, the quantity. A name that ends in ``_percent`` is divided by
            100.

    Returns:
        Columns `KEYS`, value (in natural units: shares, not percent), and the columns of ``rows``
        and ``columns`` as they were.

    Raises:
        AdvdetectError: The table lacks a column, or has no row for the data set.
    """
    wanted = [*rows, *([columns] if columns else []), *values]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise AdvdetectError(
            f"The reported values have no column {', '.join(missing)}; they have: "
            f"{', '.join(table.columns)}."
        )
    here = table[table["dataset"] == dataset] if "dataset" in table.columns else table
    if here.empty:
        known = ", ".join(sorted(table["dataset"].unique()))
        raise AdvdetectError(f"There are no reported values for {dataset}; there are for: {known}.")
    names = here[[*rows, *([columns] if columns else [])]].astype(str)
    parts = [
        names.assign(
            row=[_row_name(record) for record in names[list(rows)].to_dict("records")],
            column=names[columns] if columns else "",
            quantity=quantity,
            value=here[name] / (100 if name.endswith(_PERCENT_SUFFIX) else 1),
        )
        for name, quantity in values.items()
    ]
    return pd.concat(parts, ignore_index=True)


def auroc(table: pd.DataFrame, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area under the ROC curve, (1, B), of a table with the columns kind and score.

    Positives are the rows of kind ``adversarial``; see `ranking.detection_metrics`.
    """
    positive = (table["kind"] == "adversarial").to_numpy(bool)
    if positive.all() or not positive.any() or table["score"].isna().any():
        return np.full((1, len(weights)), np.nan)
    return detection_metrics(table["score"].to_numpy(np.float64), positive, weights)[:1]


def compare(
    readings: Mapping[str, Iterable[Cell]],
    reported: pd.DataFrame,
    *,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """Compute the cells of each reading and compare them with what is reported.

    Args:
        readings: The cells of each reading.
        reported: What `reported_cells` returns.
        replicates: Number of bootstrap replicates, at least 1.
        seed: Bootstrap seed in [0, 2**64).

    Returns:
        A row for each cell of each reading: reading, `KEYS`, value, standard_deviation, low, high
        (see `perturbation.mean_with_interval`; of a share that is 0 or 1 the exact limit),
        interval (what they are), n_positive (rows of all
        seeds; n_negative is 0), reported,
        difference (ours less reported) and verdict (`WITHIN`, `ABOVE`, `BELOW`, or empty where
        either is missing). All in the units that are shown: percent, or the norm itself.

    Raises:
        AdvdetectError: There are no cells, or none of a reading's is reported.
    """
    parts = []
    for reading, cells in readings.items():
        for cell in cells:
            own = mean_with_interval(cell.seeds, cell.statistic, replicates=replicates, seed=seed)
            if cell.quantity in SHARES:
                own = _within_resolution(own, cell.seeds)
            named = {"reading": reading, "row": cell.row, "column": cell.column}
            counts = {"n_positive": sum(map(len, cell.seeds)), "n_negative": 0}
            parts.append(own.assign(**named, quantity=cell.quantity, **counts))
    if not parts:
        raise AdvdetectError(
            "None of the reported cells is in this experiment: mend the names of its readings."
        )
    ours = pd.concat(parts, ignore_index=True)
    known = reported[[*KEYS, "value"]].rename(columns={"value": "reported"})
    table = ours.merge(known, on=KEYS, how="left")
    for own_name, rows in table.groupby("reading", sort=False):
        if rows["reported"].isna().all():
            names = ", ".join(dict.fromkeys(reported["row"] + " " + reported["column"]))
            raise AdvdetectError(
                f"The reading {own_name} has no cell that is reported: mend the names on its left. "
                f"Reported are: {names}."
            )
    scale = np.where(table["quantity"].isin(NORMS), 1.0, 100.0)
    for name in ("value", "standard_deviation", "low", "high", "reported"):
        table[name] *= scale
    table["difference"] = table["value"] - table["reported"]
    table["verdict"] = np.select(
        [
            table["reported"].isna() | table["low"].isna(),
            table["reported"] < table["low"],
            table["reported"] > table["high"],
        ],
        ["", ABOVE, BELOW],
        WITHIN,
    )
    table["interval"] = np.where(table["low"].isna(), "none", BOOTSTRAP_INTERVAL)
    return table[["reading", *KEYS, *STATISTICS, "reported", "difference", "verdict"]]


def _within_resolution(own: pd.DataFrame, seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Give a share of all or of no images the exact interval of Clopper & Pearson 1934.

    A bootstrap of images that are all alike has no width, whatever their number n; the exact limit
    is 0.025^(1/n). The images of all seeds are the same ones, so each counts once.
    """
    n = len(np.unique(np.concatenate([table["index"] for table in seeds])))
    limit = 0.025 ** (1 / n) if n else np.nan
    own = own.copy()
    own.loc[own["low"] == 1, "low"] = limit
    own.loc[own["high"] == 0, "high"] = 1 - limit
    return own


def summarize(comparison: pd.DataFrame) -> pd.DataFrame:
    """Count the verdicts of each reading.

    Args:
        comparison: What `compare` returns.

    Returns:
        One row per reading: reading, cells (those with a verdict), within, above, below, and
        mean_absolute_difference over them (NaN where the quantities have different units).
    """
    rows = []
    for reading, cells in comparison.groupby("reading", sort=False):
        judged = cells[cells["verdict"] != ""]
        one_unit = len(judged["quantity"].unique()) == 1
        rows.append(
            {
                "reading": reading,
                "cells": len(judged),
                **{verdict: int((judged["verdict"] == verdict).sum()) for verdict in VERDICTS},
                "mean_absolute_difference": judged["difference"].abs().mean()
                if one_unit
                else np.nan,
            }
        )
    return pd.DataFrame(rows)


def _row_name(record: Mapping[Hashable, Any]) -> str:
    (_, first), *rest = record.items()
    return first + "".join(f",{name}={value}" for name, value in rest)
