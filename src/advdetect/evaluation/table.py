"""A table: tidy cells, and how each column is to be shown."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from advdetect.evaluation.names import NO_VALUE, display_name

#: The columns of tidy cells that are no keys.
STATISTICS = [
    "value",
    "standard_deviation",
    "low",
    "high",
    "interval",
    "n_positive",
    "n_negative",
]
#: What the column ``interval`` says where low and high are one; elsewhere they are another range.
BOOTSTRAP_INTERVAL = "95 % bootstrap"


@dataclass(frozen=True)
class CellFormat:
    """How the numbers of a column are shown.

    Attributes:
        scale: Factor before rounding; 100 for percent.
        decimals: Digits after the point.
        spread: What follows the value: its interval, its deviation over seeds, or nothing.
        best: Whether the largest value of the column is marked.
    """

    scale: float = 100
    decimals: int = 1
    spread: Literal["interval", "deviation", "nothing"] = "interval"
    best: bool = True


@dataclass(frozen=True)
class CellText:
    """One cell as text: its value (or "–"), its spread (or ""), and whether it is the best."""

    value: str
    spread: str
    best: bool


@dataclass(frozen=True)
class Table:
    """A table of cells with one key for its rows and one for its columns.

    Attributes:
        name: File stem and LaTeX label, for example ``detection_random_forest_float32``.
        caption: One or two sentences in plain text.
        rows: Column of `cells` that names the rows, for example ``feature``.
        columns: Column of `cells` that names the columns, for example ``attack``.
        cells: One row per cell: the two keys, value, standard_deviation, low, high, interval (what
            low and high are), n_positive and n_negative, in the unit of the metric.
        controls: Names of rows and columns that bound the metric; nothing there is marked as best.
        formats: The format of each column that differs from `format`.
        format: The format of all other columns.
    """

    name: str
    caption: str
    rows: str
    columns: str
    cells: pd.DataFrame
    controls: Collection[str] = ()
    formats: Mapping[str, CellFormat] = field(default_factory=dict)
    format: CellFormat = CellFormat()

    @property
    def header(self) -> list[str]:
        """The display names: of the row key, then of each column."""
        first = self.rows.replace("_", " ").capitalize()
        return [first, *(display_name(name) for name in self.cells[self.columns].unique())]

    def body(self) -> list[tuple[str, list[CellText]]]:
        """Return each row's display name and its cells, "–" where there is no value."""
        rows = list(self.cells[self.rows].unique())
        names = list(self.cells[self.columns].unique())
        columns = [self._column_texts(column, rows) for column in names]
        return [(display_name(row), [texts[i] for texts in columns]) for i, row in enumerate(rows)]

    def _column_texts(self, column: str, rows: list[str]) -> list[CellText]:
        style = self.formats.get(column, self.format)
        cells = self.cells[self.cells[self.columns] == column].set_index(self.rows)
        cells = cells.reindex(rows)
        values = [_number(value, style) for value in cells["value"]]
        eligible = cells["value"].where(~cells.index.isin(list(self.controls)))
        # Ties in the digits that are shown are all best; a single candidate is no comparison.
        top = _number(eligible.max(), style) if eligible.count() > 1 else NO_VALUE
        compared = style.best and column not in self.controls
        marks = [
            compared and value == top != NO_VALUE and not np.isnan(candidate)
            for value, candidate in zip(values, eligible, strict=True)
        ]
        spreads = [_spread(cell, style) for cell in cells.to_dict("records")]
        return [CellText(*parts) for parts in zip(values, spreads, marks, strict=True)]


def _number(value: float, style: CellFormat) -> str:
    return NO_VALUE if np.isnan(value) else f"{value * style.scale:.{style.decimals}f}"


def _spread(cell: Mapping, style: CellFormat) -> str:
    low, high, deviation = cell["low"], cell["high"], cell["standard_deviation"]
    if style.spread == "interval" and not np.isnan(low):
        return f"[{_number(low, style)}, {_number(high, style)}]"
    if style.spread == "deviation" and not np.isnan(deviation):
        return f"± {_number(deviation, style)}"
    return ""
