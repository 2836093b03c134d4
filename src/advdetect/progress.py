"""Progress of long loops: a bar on a terminal, a line now and then in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10.0
#: How long nothing is said at most while one unit is worked on, in a log file and on a terminal.
SECONDS_OF_SILENCE = 30.0
SECONDS_ON_A_TERMINAL = 1.0


class Progress:
    """How far a piece of work is, shown on standard error; a context manager.

    Args:
        description: What is being done, for example ``attack ossa``.
        total: How many units there are.
        unit: What one unit is, for example ``batch``.
        done: How many were done before; they do not count for the time that is left.
    """

    def __init__(self, description: str, total: int, unit: str, done: int = 0) -> None:
        self._description, self._total, self._unit = description, total, unit
        self._before = self._done = done
        self._steps = 0
        self._started = self._shown = self._ticked = time.monotonic()
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, desc=description, unit=unit)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, count: int = 1, status: str = "") -> None:
        """Count units as done.

        Args:
            count: How many.
            status: What else is to be shown, for example ``98.0 % fooled``.
        """
        self._done += count
        self._steps = 0
        if self._bar is not None:
            self._bar.set_postfix_str(status, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_LINES and self._done < self._total:
            self._shown = now
            each = (now - self._started) / (self._done - self._before)
            parts = [status] if status else []
            self._say(*parts, f"about {each * (self._total - self._done):.0f} s left")

    def tick(self, what: str) -> None:
        """Count a step within the units that come next, and say now and then how many there were.

        Args:
            what: What a step is, in the plural, for example ``forward passes``.
        """
        self._steps += 1
        now = time.monotonic()
        silence = SECONDS_OF_SILENCE if self._bar is None else SECONDS_ON_A_TERMINAL
        if now - max(self._shown, self._ticked) < silence:
            return
        self._ticked = now
        status = f"{self._steps:,} {what} since"
        if self._bar is not None:
            self._bar.set_postfix_str(status)
        else:
            self._say(status)

    def _say(self, *parts: str) -> None:
        far = f"{self._description}: {self._done} of {self._total} {_plural(self._unit)}"
        report(", ".join([far, *parts]))


def track(items: Iterable[Item], total: int, description: str, unit: str) -> Iterator[Item]:
    """Yield the items and show on standard error how far the loop is.

    Args:
        items: What to loop over.
        total: How many there are.
        description: What is being done, for example ``attack ossa``.
        unit: What one item is, for example ``batch``.
    """
    with Progress(description, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def report(message: str) -> None:
    """Write one line to standard error."""
    print(message, file=sys.stderr, flush=True)


def _plural(unit: str) -> str:
    return f"{unit}es" if unit.endswith("ch") else f"{unit}s"


def replace_unprintable() -> None:
    """Let what is printed have signs that the terminal's encoding has not: they are replaced."""
    for stream in (sys.stdout, sys.stderr):
        # Of a stream that was written to before, some cannot be changed any more.
        with suppress(OSError, AttributeError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
