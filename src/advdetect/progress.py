"""Progress of long loops: a bar on a terminal, a line now and then in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[Item], total: int, description: str, unit: str) -> Iterator[Item]:
    """Yield the items and show on standard error how far the loop is.

    Args:
        items: What to loop over.
        total: How many there are.
        description: What is being done, for example ``attack ossa``.
        unit: What one item is, for example ``batch``.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=description, unit=unit)
        return
    started = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES and done < total:
            shown = now
            left = (now - started) / done * (total - done)
            report(f"{description}: {done} of {total} {unit}s, about {left:.0f} s left")


def report(message: str) -> None:
    """Write one line to standard error."""
    print(message, file=sys.stderr, flush=True)
