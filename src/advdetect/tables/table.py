"""A table: tidy cells, and how each column is to be shown."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from advdetect.evaluation.cells import REASON, SIGNIFICANCE, of_runs, split_runs
from advdetect.tables.names import NO_VALUE, display_name, run_name


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
        note: Number of the note below the table that says why there is none; 0 without one.
    """

    value: str
    spread: str
    best: bool
    test: str = ""
    number: float = field(default=float("nan"), compare=False)
    note: int = 0


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
            The cells may have the column run: each run is a block of rows; and the column reason,
            which says why a cell is empty.
        controls: Names of rows and columns that bound the metric; nothing there is marked as best.
        formats: The format of each column that differs from `format`.
        format: The format of all other columns.
        labels: What readers see of a row, where it is not the display name of its key.
        remarks: Sentences below the table, after the reasons of empty cells.
    """

    name: str
    caption: str
    rows: str
    columns: str
    cells: pd.DataFrame
    controls: Collection[str] = ()
    formats: Mapping[str, CellFormat] = field(default_factory=dict)
    format: CellFormat = CellFormat()
    labels: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @property
    def header(self) -> list[str]:
        """The display names: of the row key, then of each column; of several runs "Run" first."""
        first = self.rows.replace("_", " ").capitalize()
        run = ["Run"] if self.has_runs else []
        return [*run, first, *(display_name(name) for name in self.cells[self.columns].unique())]

    @property
    def has_runs(self) -> bool:
        """Whether there is more than one run."""
        return len(split_runs(self.cells)) > 1

    @property
    def notes(self) -> list[str]:
        """The reasons of empty cells, each once; a cell's note is its position from 1."""
        cells = of_runs(self.cells)
        reasons = cells.loc[cells["value"].isna(), REASON]
        return [reason for reason in reasons.unique() if reason]

    @property
    def headings(self) -> list[list[str]]:
        """What stands before the cells of each row: of several runs its run, and its name."""
        several = self.has_runs
        return [
            [run_name(run), self._label(row)] if several else [self._label(row)]
            for run, cells in split_runs(self.cells).items()
            for row in cells[self.rows].unique()
        ]

    def body(self) -> list[tuple[str, list[CellText]]]:
        """Return each row's display name and its cells, "–" where there is no value.

        The best of a column is the best of a run.
        """
        names = list(self.cells[self.columns].unique())
        numbers = {reason: number for number, reason in enumerate(self.notes, start=1)}
        body = []
        for cells in split_runs(self.cells).values():
            rows = list(cells[self.rows].unique())
            nothing = [CellText(NO_VALUE, "", best=False)] * len(rows)
            there = {
                column: self._column_texts(
                    own.set_index(self.rows).reindex(rows), str(column), numbers
                )
                for column, own in cells.groupby(self.columns, sort=False, observed=True)
            }
            columns = [there.get(column, nothing) for column in names]
            body += [(self._label(r), [texts[i] for texts in columns]) for i, r in enumerate(rows)]
        return body

    def _label(self, row: str) -> str:
        return self.labels.get(row) or display_name(row)

    def _column_texts(
        self, cells: pd.DataFrame, column: str, numbers: Mapping[str, int]
    ) -> list[CellText]:
        style = self.formats.get(column, self.format)
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
                note=numbers.get(cell[REASON], 0) if np.isnan(cell["value"]) else 0,
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
