import io
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from advdetect.tables.rendering import to_csv, to_latex, to_markdown, to_text
from advdetect.tables.table import Table

NASTY = "a|b_c & 50% <i> #{$x^2~\\"


@pytest.fixture(scope="module")
def table() -> Table:
    values = {
        ("kd", "fgsm"): (0.912, 0.85, 0.95),
        (NASTY, "fgsm"): (0.9871, 0.97, 0.9999),
        ("kd", "cw_l2"): (np.nan, np.nan, np.nan),
        (NASTY, "cw_l2"): (0.5, np.nan, np.nan),
    }
    cells = pd.DataFrame(
        [
            {"feature": row, "attack": column, "value": value, "low": low, "high": high}
            for (row, column), (value, low, high) in values.items()
        ]
    ).assign(standard_deviation=np.nan, interval="none", n_positive=3, n_negative=6)
    return Table("detection_x,kappa=1", "AUROC in % of C&W ± | x_y.", "feature", "attack", cells)


def cells_of(line: str) -> list[str]:
    """Split a line of a pipe table at its unescaped pipes and undo the escapes."""
    parts = re.split(r"(?<!\\)\|", line.strip().strip("|"))
    return [re.sub(r"\\(.)", r"\1", part.strip()) for part in parts]


def test_csv_returns_every_number(table: Table) -> None:
    read = pd.read_csv(io.StringIO(to_csv(table)), dtype={"run": str, "reason": str})
    assert read.columns[0] == "run"
    assert list(read.columns[-3:]) == ["reason", "n_positive", "n_negative"]
    own = read.drop(columns=["run", "reason"])
    pd.testing.assert_frame_equal(own, table.cells, check_dtype=False)


def test_markdown_reads_back(table: Table) -> None:
    caption, empty, header, rule, *rows = to_markdown(table).splitlines()
    assert caption.replace("\\", "") == table.caption
    assert empty == ""
    assert cells_of(header) == ["Feature", "FGSM", "C&W L2"]
    assert re.fullmatch(r"\|:-+\|-+:\|-+:\|", rule)
    assert [cells_of(row) for row in rows] == [
        ["KD", "91.2 [85.0, 95.0]", "–"],
        [NASTY, "**98.7** [97.0, 100.0]", "50.0"],
    ]


def test_text_is_aligned_and_marks_the_best(table: Table) -> None:
    lines = to_text(table).splitlines()
    assert lines[0] == table.caption
    assert "98.7* [97.0, 100.0]" in lines[-1]
    assert {len(line) for line in lines[2:]} == {len(lines[2])}


def test_latex_has_the_structure_of_the_table(table: Table) -> None:
    source = to_latex(table)
    for name in ("table", "tabular"):
        assert source.count(rf"\begin{{{name}}}") == source.count(rf"\end{{{name}}}") == 1
    assert r"\begin{tabular}{lcc}" in source
    assert r"\label{tab:detection-x-kappa-1}" in source
    assert r"\caption{AUROC in \% of C\&W $\pm$ \textbar{} x\_y.}" in source
    positions = [source.index(rf"\{rule}rule") for rule in ("top", "mid", "bottom")]
    assert positions == sorted(positions)
    body = source[positions[0] : positions[2]].splitlines()
    rows = [line for line in body if line.endswith(r"\\")]
    assert len(rows) == 3
    assert all(len(re.findall(r"(?<!\\)&", row)) == 2 for row in rows)
    assert r"\shortstack{\textbf{98.7}\\\scriptsize [97.0, 100.0]}" in rows[2]
    assert rows[1] == r"\addlinespace KD & \shortstack{91.2\\\scriptsize [85.0, 95.0]} & -- \\"
    assert source.count(r"\textbf") == 1


def test_latex_braces_balance(table: Table) -> None:
    source = re.sub(r"\\[{}]", "", to_latex(table))
    depth = np.cumsum([(c == "{") - (c == "}") for c in source])
    assert depth[-1] == 0
    assert depth.min() == 0


def test_no_row_begins_with_an_option_of_the_command_before_it(table: Table) -> None:
    bracketed = {"kd": "[1cm]", NASTY: "a [b]"}
    cells = table.cells.replace({"feature": bracketed})
    source = to_latex(replace(table, cells=cells))
    assert r"\addlinespace {[}1cm] & " in source
    assert r"\addlinespace a [b] & " in source
    assert r"\scriptsize [97.0, 100.0]" in source
    assert not re.search(r"(\\\\|rule|space)\s*[\[*]", source)


def test_a_name_of_several_lines_is_one_row_in_every_format(table: Table) -> None:
    cells = table.cells.replace({"feature": {"kd": "two\n\nlines"}})
    several = replace(table, cells=cells, caption="A\ncaption.")
    for render in (to_markdown, to_latex, to_text):
        plain, broken = render(table).splitlines(), render(several).splitlines()
        assert len(plain) == len(broken)
        assert sum("two lines" in line for line in broken) == 1
        assert any("A caption." in line for line in broken)


def test_every_cell_and_the_caption_are_literal_text_in_markdown(table: Table) -> None:
    renderer = pytest.importorskip("markdown_it", reason="needs pip install -e '.[test]'")
    names = {"kd": "[x](y) ![z](w) `a|b` _c_ ~~d~~", NASTY: NASTY}
    cells = table.cells.replace({"feature": names, "attack": {"fgsm": "**[1]: /url**"}})
    literal = replace(table, cells=cells, caption="# 1 <b> *x* [1]: /url &amp; `")
    markdown = renderer.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    paragraph, *shown = [
        token.children for token in markdown.parse(to_markdown(literal)) if token.type == "inline"
    ]
    assert [(part.type, part.content) for part in paragraph] == [("text", literal.caption)]
    texts = [["".join(part.content for part in parts), len(parts)] for parts in shown]
    assert texts == [
        ["Feature", 1],
        ["**[1]: /url**", 1],
        ["C&W L2", 1],
        [names["kd"], 1],
        ["91.2 [85.0, 95.0]", 1],
        ["–", 1],
        [NASTY, 1],
        ["98.7 [97.0, 100.0]", 5],  # an empty text, then the number in bold
        ["50.0", 1],
    ]


def test_nothing_is_bold_without_a_comparison(table: Table) -> None:
    alone = replace(table, controls=("kd", NASTY))
    assert "**" not in to_markdown(alone)
    assert r"\textbf" not in to_latex(alone)
    assert "*" not in to_text(alone)
