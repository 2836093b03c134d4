"""Names of classes, shortened for the line above a picture."""

import re
from collections.abc import Iterator, Sequence

ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
_BETWEEN_WORDS = re.compile(r"[\s_-]+")


def short_names(names: Sequence[str], width: int = 28) -> list[str]:
    """Shorten the names of all classes so that each still has its own.

    Of several names of one class, as in ``tench, Tinca tinca``, the first is kept. What is longer
    than the width is cut between words. Names that would look alike, capitals aside, keep what
    tells them apart: the last word, or all of it where that is not enough. Classes of the very same
    name, as ILSVRC's two cranes, have their numbers behind it.

    Args:
        names: The names of all classes, in the order of their numbers.
        width: Characters; only a name that would be mistaken for another one may be longer.

    Returns:
        One for each name.
    """
    forms = [list(_forms(name, number, width)) for number, name in enumerate(names)]
    chosen = [0] * len(names)
    while True:
        shown = [own[form] for own, form in zip(forms, chosen, strict=True)]
        alike: dict[str, list[int]] = {}
        for number, name in enumerate(shown):
            alike.setdefault(name.casefold(), []).append(number)
        longer = [
            number
            for group in alike.values()
            for number in group
            if len(group) > 1 and chosen[number] + 1 < len(forms[number])
        ]
        if not longer:
            return shown
        for number in longer:
            chosen[number] += 1


def _forms(name: str, number: int, width: int) -> Iterator[str]:
    """Yield the forms of a name, each as long as the one before or longer."""
    first = name.split(", ")[0]
    yield _cut(first, width)
    *_, last = _BETWEEN_WORDS.split(first)
    start = _cut(first, width - len(last) - 1)
    yield f"{start} {last}" if start.endswith(ELLIPSIS) and len(last) < width // 2 else first
    yield first
    yield name
    yield f"{name} ({number})"


def _cut(text: str, width: int) -> str:
    """Return a text of at most so many characters, cut between words where there are any."""
    if len(text) <= width:
        return text
    breaks = [found.start() for found in _BETWEEN_WORDS.finditer(text) if 0 < found.start() < width]
    return text[: breaks[-1] if breaks else max(width - 1, 1)] + ELLIPSIS
