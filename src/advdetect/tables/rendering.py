"""Tables as CSV, Markdown, LaTeX and plain text."""

import re
from collections.abc import Iterator

import pandas as pd

from advdetect.evaluation.cells import REASON, RUN, of_runs
from advdetect.files.texts import csv_of
from advdetect.tables.escaping import escape_latex, escape_markdown, one_line
from advdetect.tables.table import CellText, Table

_INTERVAL = re.compile(r"\[[-+\N{MINUS SIGN}\d., ]+\]")
_SUPERIOR = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def to_csv(table: Table) -> str:
    """Return the tidy cells: one line per cell, six digits, empty where there is no value.

    The first column is the run; the reason why there is no value stands before the counts, by
    which a file that was cut off is known.
    """
    cells = of_runs(table.cells)
    names = [name for name in cells.columns if name not in (RUN, REASON)]
    counts = names.index("n_positive") if "n_positive" in names else len(names)
    return csv_of(cells[[RUN, *names[:counts], REASON, *names[counts:]]])


def to_markdown(table: Table) -> str:
    """Return the caption and a pipe table; the best of each column in bold."""

    def cell(text: CellText) -> str:
        value = f"**{text.value}**" if text.best else f"{text.value}{_mark(text.note)}"
        # An interval of numbers is no link, and stays legible in the source.
        spread = text.spread if _INTERVAL.fullmatch(text.spread) else escape_markdown(text.spread)
        return _joined(value, spread, escape_markdown(text.test))

    rows = [[*map(escape_markdown, names), *map(cell, texts)] for names, texts in _rows(table)]
    header = [escape_markdown(name) for name in table.header]
    grid = _aligned(rows, header, "pipe", 1 + table.has_runs)
    notes = "".join(f"\n{escape_markdown(note)}\n" for note in _notes(table))
    return f"{escape_markdown(table.caption)}\n\n{grid}\n{notes}"


def to_latex(table: Table) -> str:
    r"""Return a `table` environment; the best of each column in bold.

    It needs ``\usepackage{booktabs,graphicx}``; a table wider than the line is scaled to fit.
    """

    def cell(text: CellText) -> str:
        value = escape_latex(text.value) + _latex_mark(text.note)
        value = rf"\textbf{{{value}}}" if text.best else value
        # Below the value, so that a table of many attacks stays legible in one column of text.
        below = [
            rf"\\\scriptsize {escape_latex(part)}" for part in (text.spread, text.test) if part
        ]
        return rf"\shortstack{{{value}{''.join(below)}}}" if below else value

    headings = 1 + table.has_runs
    lines = [[escape_latex(name) for name in table.header]]
    lines += [[*map(escape_latex, names), *map(cell, texts)] for names, texts in _rows(table)]
    # A bracket at the start of a row would begin an option of the command before it.
    for line in lines:
        line[0] = re.sub(r"\A\[", "{[}", line[0])
    header, *rows = (" & ".join(line) + r" \\" for line in lines)
    rows = [rf"\addlinespace {row}" for row in rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape_latex(table.caption)}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', table.name).strip('-')}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{'l' * headings}{'c' * (len(table.header) - headings)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            *(
                rf"\par\footnotesize {_latex_mark(number)} {escape_latex(note)}"
                for number, note in enumerate(table.notes, start=1)
            ),
            *(rf"\par\footnotesize {escape_latex(remark)}" for remark in table.remarks),
            r"\end{table}",
            "",
        ]
    )


def to_text(table: Table) -> str:
    """Return the caption and an aligned table for a terminal; the best of each column has a *."""

    def cell(text: CellText) -> str:
        return _joined(f"{text.value}{'*' * text.best}{_mark(text.note)}", text.spread, text.test)

    rows = [[*map(one_line, names), *map(cell, texts)] for names, texts in _rows(table)]
    grid = _aligned(rows, [*map(one_line, table.header)], "simple", 1 + table.has_runs)
    notes = "".join(f"\n{one_line(note)}" for note in _notes(table))
    return f"{one_line(table.caption)}\n\n{grid}\n" + (f"{notes}\n" if notes else "")


def _rows(table: Table) -> Iterator[tuple[list[str], list[CellText]]]:
    """Yield the headings and the cells of each row."""
    for names, (_, texts) in zip(table.headings, table.body(), strict=True):
        yield names, texts


def _notes(table: Table) -> list[str]:
    """Return why cells are empty, each reason once and with its mark, and the remarks."""
    reasons = [f"{_mark(number)} {note}" for number, note in enumerate(table.notes, start=1)]
    return [*reasons, *table.remarks]


def _mark(number: int) -> str:
    """Return the number of a note in superior figures, "" for 0."""
    return str(number).translate(_SUPERIOR) if number else ""


def _latex_mark(number: int) -> str:
    return rf"\textsuperscript{{{number}}}" if number else ""


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _aligned(rows: list[list[str]], header: list[str], style: str, headings: int) -> str:
    return pd.DataFrame(rows, columns=header).to_markdown(
        index=False,
        tablefmt=style,
        disable_numparse=True,
        colalign=["left"] * headings + ["right"] * (len(header) - headings),
    )
