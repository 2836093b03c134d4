"""What a job took: it measures itself, so that no other process has to watch it."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from advdetect.errors import AdvdetectError
from advdetect.files.texts import read_json, write_json

_IMPORTED = time.monotonic()
_STARTED_TICKS = 19  # in /proc/<process>/stat, counted from behind the name of the program


@dataclass(frozen=True)
class Usage:
    """What a job took.

    Attributes:
        stage: What it did.
        method_s: Wall-clock seconds in the step itself.
        wall_s: Wall-clock seconds since its process, or its fork of a warm one, began.
        cpu_s: CPU seconds, user and system, of it and of the processes that it has started.
        peak_memory_mb: The most resident memory of its process, in 10⁶ bytes. Memory that a fork
            shares with the process that it comes from counts, as it does in a process of its own.
        succeeded: Whether it came to its end without an error.
    """

    stage: str
    method_s: float
    wall_s: float
    cpu_s: float
    peak_memory_mb: float
    succeeded: bool


@contextmanager
def measured(path: str | Path | None, stage: str) -> Iterator[None]:
    """Write what the job took when the block ends, with or without an error.

    Args:
        path: JSON file to write; None for none. What it held of an earlier job is gone at once.
        stage: What the job does.
    """
    if not path:
        yield
        return
    Path(path).unlink(missing_ok=True)
    started, succeeded = time.monotonic(), False
    try:
        yield
        succeeded = True
    finally:
        usage = Usage(
            stage=stage,
            method_s=round(time.monotonic() - started, 3),
            wall_s=round(_seconds_of_process(), 3),
            cpu_s=round(_cpu_seconds(), 3),
            peak_memory_mb=round(_peak_bytes() / 1e6, 1),
            succeeded=succeeded,
        )
        write_json(path, asdict(usage))


def read_usage(path: str | Path) -> Usage:
    """Read what a job took.

    Raises:
        AdvdetectError: The file is missing or holds something else.
    """
    values = read_json(path)
    try:
        return Usage(
            stage=str(values["stage"]),
            method_s=float(values["method_s"]),
            wall_s=float(values["wall_s"]),
            cpu_s=float(values["cpu_s"]),
            peak_memory_mb=float(values["peak_memory_mb"]),
            succeeded=bool(values["succeeded"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AdvdetectError(
            f"The file {path} does not say what its job took: delete it, and that job counts as "
            "not measured."
        ) from error


def _seconds_of_process() -> float:
    """Return the age of this process; without /proc that of this module in it."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[_STARTED_TICKS])
    except OSError:
        return time.monotonic() - _IMPORTED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _cpu_seconds() -> float:
    whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, whose))


def _peak_bytes() -> int:
    """Return the most resident memory; ``ru_maxrss`` alone counts what was before an exec, too."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak
