"""Tables as CSV, Markdown, LaTeX and plain text."""

import re

import pandas as pd

from advdetect.evaluation.table import CellText, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "∞": r"$\infty$",
    "κ": r"$\kappa$",
    "ε": r"$\varepsilon$",
    "β": r"$\beta$",
    "λ": r"$\lambda$",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$",
}


def to_csv(table: Table) -> str:
    """Return the tidy cells: one line per cell, full precision, empty where there is no value."""
    return table.cells.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Table) -> str:
    """Return the caption and a pipe table; the best of each column in bold."""

    def cell(text: CellText) -> str:
        value = f"**{text.value}**" if text.best else text.value
        return _joined(value, _escape_markdown(text.spread), _escape_markdown(text.test))

    rows = [
        [_escape_markdown(name), *(cell(text) for text in texts)] for name, texts in table.body()
    ]
    header = [_escape_markdown(name) for name in table.header]
    grid = _aligned(rows, header, "pipe")
    return f"{_escape_markdown(table.caption)}\n\n{grid}\n"


def to_latex(table: Table) -> str:
    r"""Return a `table` environment; the best of each column in bold.

    It needs ``\usepackage{booktabs,graphicx}``; a table wider than the line is scaled to fit.
    """

    def cell(text: CellText) -> str:
        value = escape_latex(text.value)
        value = rf"\textbf{{{value}}}" if text.best else value
        # Below the value, so that a table of many attacks stays legible in one column of text.
        below = [
            rf"\\\scriptsize {escape_latex(part)}" for part in (text.spread, text.test) if part
        ]
        return rf"\shortstack{{{value}{''.join(below)}}}" if below else value

    lines = [[escape_latex(name) for name in table.header]]
    lines += [[escape_latex(name), *(cell(text) for text in texts)] for name, texts in table.body()]
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
            rf"\begin{{tabular}}{{l{'c' * (len(table.header) - 1)}}}",
            r"\toprule",
            header,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def to_text(table: Table) -> str:
    """Return the caption and an aligned table for a terminal; the best of each column has a *."""

    def cell(text: CellText) -> str:
        return _joined(f"{text.value}{'*' * text.best}", text.spread, text.test)

    rows = [[name, *(cell(text) for text in texts)] for name, texts in table.body()]
    grid = _aligned(rows, table.header, "simple")
    return f"{table.caption}\n\n{grid}\n"


def escape_latex(text: str) -> str:
    """Escape what LaTeX would interpret, and write common symbols as commands.

    Args:
        text: Plain text.

    Returns:
        LaTeX source that prints the text with pdflatex.
    """
    return "".join(_LATEX.get(character, character) for character in text)


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*<>])", r"\\\1", text.replace("\n", " "))


def _aligned(rows: list[list[str]], header: list[str], style: str) -> str:
    return pd.DataFrame(rows, columns=header).to_markdown(
        index=False,
        tablefmt=style,
        disable_numparse=True,
        colalign=["left", *["right"] * (len(header) - 1)],
    )
