"""Plain text as the source of LaTeX and of Markdown, in which nothing of it means something."""

import re

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
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "∞": r"$\infty$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "κ": r"$\kappa$",
    "ε": r"$\varepsilon$",
    "β": r"$\beta$",
    "λ": r"$\lambda$",
    "\N{GREEK SMALL LETTER SIGMA}": r"$\sigma$",
}
_SUPERIOR = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_LATEX |= {sign: rf"\textsuperscript{{{digit}}}" for digit, sign in enumerate(_SUPERIOR)}
_LATEX["\N{SUPERSCRIPT MINUS}"] = r"\textsuperscript{$-$}"
# Two of these in a row would be one sign: a dash, a quotation mark.
_LATEX_PARTS = re.compile(r"(?P<pair>[-',])(?=(?P=pair))|.")

# What CommonMark and GitHub give a meaning to wherever it stands; an underscore within a word has
# none. (GitHub looks for an e-mail address after it has read the escapes, so it links one still.)
_MARKDOWN = re.compile(
    r"""[\\`*\[\]<>|~$^]
    | (?<![^\W_])_ | _(?![^\W_])     # emphasis
    | (?<=https)(?=://) | (?<=http)(?=://) | (?<=ftp)(?=://) | (?<=www)(?=\.)  # addresses
    | (?<=[\w.+-])@(?=[\w-]+\.\w)
    | &(?=\#?\w+;)                   # an entity""",
    re.VERBOSE | re.IGNORECASE,
)
# What begins a heading, a list, a rule or the line below a heading, at the start of a line.
_MARKDOWN_START = re.compile(r"\A(?=[-+=#:])|\A(\d+)(?=[.)](?:\s|\Z))")


def one_line(text: str) -> str:
    """Return the text with a space for each run of line ends and other control characters."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text).strip()


def escape_latex(text: str) -> str:
    """Escape what LaTeX would interpret, and write common symbols as commands.

    An opening bracket is not escaped: it means something only where a command before it has an
    option.

    Args:
        text: Plain text; line ends become spaces.

    Returns:
        LaTeX source that prints the text with pdflatex. Letters of other scripts stay as they are,
        which xelatex and lualatex print.
    """
    return _LATEX_PARTS.sub(
        lambda part: part[0] + "{}" if part["pair"] else _LATEX.get(part[0], part[0]),
        one_line(text),
    )


def escape_markdown(text: str) -> str:
    """Escape what Markdown would interpret, as CommonMark and GitHub's tables have it.

    Args:
        text: Plain text; line ends become spaces.

    Returns:
        Markdown that shows the text, in a cell or as a paragraph of its own.
    """
    return _MARKDOWN_START.sub(r"\1\\", _MARKDOWN.sub(r"\\\g<0>", one_line(text)))
