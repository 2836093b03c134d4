"""A table: tidy cells, and how each column is to be shown."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from advdetect.evaluation.names import NO_VALUE, display_name

SIGNIFICANCE = 0.05  # below it, features are said to differ
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
#: Columns that tidy cells may have beside them, which neither name a cell nor are its value.
FACTS = ["p_value", "reported", "difference", "verdict"]
#: What the column ``interval`` says where low and high are one; elsewhere they are another range.
BOOTSTRAP_INTERVAL = "95 % bootstrap"


@dataclass(frozen=True)
class CellFormat:
    """How the numbers of a column are shown.

    Attributes:
        scale: Factor before rounding; 100 for percent.
        decimals: Digits after the point.
        spread: What follows the value: its interval, its interval and the p value of a test, its
            deviation over seeds, what the cells' column ``note`` says, or nothing.
        best: Whether the largest value of the column is marked and, where it is tested, what cannot
            be distinguished from it.
        signed: Whether positive values get a sign.
    """

    scale: float = 100
    decimals: int = 1
    spread: Literal["interval", "test", "deviation", "note", "nothing"] = "interval"
    best: bool = True
    signed: bool = False


@dataclass(frozen=True)
class CellText:
    """One cell as text.

    Attributes:
        value: Its value, or "–".
        spread: Its spread, or "".
        best: Whether it is marked.
        test: Its p value, or "".
        number: The value as it is, to sort by; NaN where there is none.
    """

    value: str
    spread: str
    best: bool
    test: str = ""
    number: float = field(default=float("nan"), compare=False)


@dataclass(frozen=True)
class Table:
    """A table of cells with one key for its rows and one for its columns.

    Attributes:
        name: File stem and LaTeX label, for example ``detection_random_forest_float32``.
        caption: One or two sentences in plain text.
        rows: Column of `cells` that names the rows, for example ``feature``.
        columns: Column of `cells` that names the columns, for example ``attack``.
        cells: One row per cell: the two keys, value, standard_deviation, low, high, interval (what
            low and high are), n_positive and n_negative, in the unit of the metric; and p_value
            where a format has the spread ``test``.
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
        eligible = cells["value"].notna() & ~cells.index.isin(list(self.controls))
        # Ties in the digits that are shown are all best; a single candidate is no comparison.
        top = _number(cells["value"][eligible].max() if eligible.sum() > 1 else np.nan, style)
        marked = eligible & style.best & (column not in self.controls)
        return [
            CellText(
                value=_number(cell["value"], style),
                spread=_spread(cell, style),
                best=mark and _is_best(cell, top, style),
                test=p_value_text(cell["p_value"]) if style.spread == "test" else "",
                number=cell["value"],
            )
            for cell, mark in zip(cells.to_dict("records"), marked.tolist(), strict=True)
        ]


def p_value_text(p_value: float) -> str:
    """Return a p value as readers see it, "" where there is none.

    Args:
        p_value: In [0, 1], or NaN.
    """
    if np.isnan(p_value):
        return ""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def _is_best(cell: Mapping, top: str, style: CellFormat) -> bool:
    if style.spread == "test" and not np.isnan(cell["p_value"]):
        return cell["p_value"] >= SIGNIFICANCE
    return _number(cell["value"], style) == top


def _number(value: float, style: CellFormat) -> str:
    if np.isnan(value):
        return NO_VALUE
    # z: what is rounded to zero has no sign.
    sign = "+" if style.signed else ""
    shown = f"{value * style.scale:{sign}z.{style.decimals}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _spread(cell: Mapping, style: CellFormat) -> str:
    low, high, deviation = cell["low"], cell["high"], cell["standard_deviation"]
    if style.spread in ("interval", "test") and not np.isnan(low):
        return f"[{_number(low, style)}, {_number(high, style)}]"
    if style.spread == "deviation" and not np.isnan(deviation):
        return f"± {_number(deviation, style)}"
    if style.spread == "note" and isinstance(cell["note"], str):
        return cell["note"]
    return ""
