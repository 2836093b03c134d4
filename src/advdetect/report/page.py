"""An HTML page from a template, with its style and script inside and nothing else allowed in."""

import base64
import hashlib
import math
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from advdetect.tables.names import NO_VALUE, display_name, run_name


def render_page(template: str, **values: object) -> str:
    """Fill in a page.

    The page states a content security policy that admits pictures within it and, by their SHA-256
    digests (Content Security Policy Level 3, section 2.3.1), one style sheet and one script.
    Whatever else a name or a value might smuggle in, the browser neither runs nor loads.

    Args:
        template: Name of a template; it places ``policy``, ``style`` and ``script``.
        values: What the template shows.

    Returns:
        HTML.
    """
    loader = PackageLoader("advdetect.report")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = display_name
    environment.filters["shown_run"] = run_name
    environment.filters["number"] = _number
    environment.filters["sort_number"] = _sort_number
    environment.filters["fills_a_page"] = _fills_a_page
    style, script = (
        loader.get_source(environment, name)[0] for name in ("report.css", "sort_tables.js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template(template)
    return page.render(policy=Markup(policy), style=Markup(style), script=Markup(script), **values)


def _digest(source: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _number(value: object) -> str:
    """Show a value of a plain table: at most four significant digits, "–" where there is none."""
    if isinstance(value, float):
        if math.isnan(value):
            return NO_VALUE
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    return str(value)


def _sort_number(value: object) -> str:
    """Return the number that a cell sorts by, as a script reads it; "" if it has none."""
    try:
        number = float(str(value))
    except ValueError:
        return ""
    if math.isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    return "" if math.isnan(number) else repr(number)


def _fills_a_page(header: Sequence[str]) -> bool:
    """Return whether a table may be too wide for printing unless words break.

    A line of a printed table has some 120 characters; a column needs its longest word or a limit of
    an interval, and two more for the space beside it.
    """
    words = [max(map(len, [*name.split(), "[100.0,"])) + 2 for name in header]
    return sum(words) > 120
