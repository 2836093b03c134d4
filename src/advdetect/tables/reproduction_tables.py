"""The tables of a reproduction: reported beside ours, the counts, and all readings side by side."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from advdetect.evaluation.cells import RUN
from advdetect.files.published import read_csv
from advdetect.papers.reproduction import ABOVE, BELOW, WITHIN, summarize
from advdetect.tables.names import display_name
from advdetect.tables.table import CellFormat, Table

_PLAIN = CellFormat(scale=1, decimals=2, best=False)
_NOTES = "In brackets our 95 % bootstrap interval over seeds and source images."


def reproduction_tables(name: str, title: str, comparison: pd.DataFrame) -> list[Table]:
    """Build the tables of a reproduction.

    Args:
        name: Its name, such as ``table4``.
        title: What it reproduces, in plain text without a full stop.
        comparison: What `reproduction.compare` returns.

    Returns:
        The first reading beside what is reported, with the difference and the verdict; the counts
        of all readings; and, for several readings, all of them side by side.
    """
    labelled = comparison.assign(cell=[cell_label(row) for row in comparison.to_dict("records")])
    first = labelled[labelled["reading"] == labelled["reading"].iloc[0]]
    tables = [_main_table(name, title, first), _summary_table(name, title, comparison)]
    if len(comparison["reading"].unique()) > 1:
        tables.append(_side_by_side(name, title, labelled))
    return tables


def _main_table(name: str, title: str, first: pd.DataFrame) -> Table:
    reading = first["reading"].iloc[0]
    columns = {
        "reported": _cells(first, "reported", "reported"),
        "reproduced": _cells(first, "value", "reproduced", interval=True),
        "difference": _cells(first, "difference", "difference").assign(
            note=first["verdict"].to_numpy()
        ),
    }
    return Table(
        name=name,
        caption=f"{title}, reported and reproduced. Reading: {reading}. {_NOTES} Within: the "
        "reported value lies in it; above or below: ours is above or below the reported value.",
        rows="cell",
        columns="source",
        cells=pd.concat(columns.values(), ignore_index=True),
        formats={"difference": replace(_PLAIN, spread="note", signed=True)},
        format=_PLAIN,
    )


def _side_by_side(name: str, title: str, labelled: pd.DataFrame) -> Table:
    reported = labelled.drop_duplicates("cell")
    parts = [_cells(reported, "reported", "reported")]
    for reading, cells in labelled.groupby("reading", sort=False):
        parts.append(_cells(cells, "value", str(reading), interval=True))
    return Table(
        name=f"{name}_readings",
        caption=f"{title}: every reading of the protocol beside what is reported. {_NOTES}",
        rows="cell",
        columns="source",
        cells=pd.concat(parts, ignore_index=True),
        format=_PLAIN,
    )


def _summary_table(name: str, title: str, comparison: pd.DataFrame) -> Table:
    counts = summarize(comparison)
    long = counts.melt("reading", var_name="quantity", value_name="value").astype({"value": float})
    whole = replace(_PLAIN, decimals=0, spread="nothing")
    return Table(
        name=f"{name}_summary",
        caption=f"{title}: in how many cells the reported value lies within our 95 % interval, and "
        "in how many ours is above or below it.",
        rows="reading",
        columns="quantity",
        cells=long.assign(standard_deviation=np.nan, low=np.nan, high=np.nan),
        formats={
            **dict.fromkeys(("cells", ABOVE, BELOW), whole),
            WITHIN: replace(whole, best=True),
            "mean_absolute_difference": _PLAIN,
        },
        format=_PLAIN,
    )


def _cells(table: pd.DataFrame, value: str, source: str, *, interval: bool = False) -> pd.DataFrame:
    nothing = np.full(len(table), np.nan)
    return pd.DataFrame(
        {
            "cell": table["cell"].to_numpy(),
            "source": source,
            "value": table[value].to_numpy(),
            "standard_deviation": nothing,
            "low": table["low"].to_numpy() if interval else nothing,
            "high": table["high"].to_numpy() if interval else nothing,
        }
    )


def cell_label(row: Mapping[Hashable, Any]) -> str:
    """Name a cell as a reader would: ``KD, FGM`` or ``FGM, Mean least L2``.

    Args:
        row: What `reproduction.KEYS` says of it.
    """
    parts = [display_name(str(row["row"]))]
    if row["column"]:
        parts.append(display_name(str(row["column"])))
    else:
        parts.append(display_name(str(row["quantity"])))
    return ", ".join(parts)


def read_comparison(path: str) -> pd.DataFrame:
    """Read what `reproduction.compare` returned; names and verdicts that are empty stay so."""
    return read_csv(path).fillna({RUN: "", "column": "", "verdict": ""})
