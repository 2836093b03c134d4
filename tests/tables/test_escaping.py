import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advdetect.tables.escaping import escape_latex, escape_markdown, one_line

NASTY = "a|b_c & 50% <i> #{$x^2~\\"
ORDINARY = [
    "Input Fisher 12.5",
    "C&W L2 (kappa=10)",
    "my_attack,epsilon=0.1",
    "fgsm@lenet5",
    "Table 2: every reading, ε up to 10; 95 %, p = 0.05 (e.g. -1)",
]
#: Signs and groups of signs that mean something to Markdown or LaTeX, and some that do not.
PIECES = st.sampled_from(
    [*"\\`*_[]<>|~$^@&#!(){}:.-+='% ab1;xé", "www.", "https://", "a@b.de", "&amp;", "[a](b)", "```"]
)
TEXTS = st.lists(PIECES, min_size=1).map("".join).filter(str.strip)


def test_escape_latex_leaves_nothing_to_interpret() -> None:
    escaped = escape_latex(NASTY + '"~`')
    rest = re.sub(r"\\text[a-z]+\{\}|\\[&%$#_{}]", "", escaped)
    assert not set(rest) & set('\\&%$#_{}~^<>|"`')
    assert escape_latex("Input Fisher 12.5") == "Input Fisher 12.5"
    assert escape_latex("1 − κ ≤") == r"1 $-$ $\kappa$ $\leq$"
    assert escape_latex("10⁻⁴") == r"10\textsuperscript{$-$}\textsuperscript{4}"


def test_escape_latex_joins_no_signs() -> None:
    assert escape_latex("a-b--c---d") == "a-b-{}-c-{}-{}-d"
    assert escape_latex("it's ''q''") == "it's '{}'q'{}'"


@pytest.fixture(scope="module")
def printed():
    """Return what LaTeX prints, as pylatexenc reads it; it lacks some commands of LaTeX's own."""
    latex = pytest.importorskip("pylatexenc.latex2text", reason="needs pip install -e '.[test]'")
    signs = {"less": "<", "greater": ">", "bar": "|", "asciigrave": "`", "asciicircum": "^"}
    known = latex.get_default_latex_context_db()
    commands = [latex.MacroTextSpec(f"text{name}", sign) for name, sign in signs.items()]
    known.add_context_category("signs", macros=commands, prepend=True)
    return latex.LatexNodes2Text(latex_context=known).latex_to_text


@given(TEXTS)
def test_latex_prints_the_text(printed: Callable[[str], str], text: str) -> None:
    assert printed(escape_latex(text)) == one_line(text)


@given(TEXTS)
def test_markdown_shows_the_text_in_a_cell_and_as_a_paragraph(text: str) -> None:
    renderer = pytest.importorskip("markdown_it", reason="needs pip install -e '.[test]'")
    markdown = renderer.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    escaped = escape_markdown(text)
    literal = [("text", one_line(text))]
    for source, count in ((escaped, 1), (f"| {escaped} |\n|:--|\n| {escaped} |\n", 2)):
        cells = [token for token in markdown.parse(source) if token.type == "inline"]
        shown = [[(part.type, part.content) for part in cell.children] for cell in cells]
        assert shown == [literal] * count


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays_as_it_is_in_markdown(text: str) -> None:
    assert escape_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("https://a.org www.b.org c@d.org", r"https\://a.org www\.b.org c\@d.org"),
        ("$x$ x^2^", r"\$x\$ x\^2\^"),
        ("1. a", r"1\. a"),
        ("- a - b", r"\- a - b"),
    ],
)
def test_what_renderers_add_to_commonmark_is_escaped_too(text: str, escaped: str) -> None:
    assert escape_markdown(text) == escaped


def test_a_line_is_one_line() -> None:
    assert one_line(" a\r\n\nb\tc\x1b\u2028d\n") == "a b c d"
