"""What each stage took: time, of which how much was method, CPU time and memory."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from advdetect.usage import read_usage

#: Columns of the table, and how the values of several jobs become one.
COLUMNS = {
    **dict.fromkeys(("jobs", "seconds", "method_seconds", "start_up_seconds"), "sum"),
    "cpu_seconds": "sum",
    "peak_mb": "max",
}


def stage_timings(paths: Iterable[str | Path]) -> pd.DataFrame:
    """Add up what the jobs say that they took, stage by stage; failed ones are left out.

    Args:
        paths: The jobs' own measurements (see `advdetect.usage`).

    Returns:
        One row per stage: stage, jobs, seconds (wall clock, of the whole jobs), method_seconds,
        start_up_seconds (the rest: interpreter and imports, or the fork), cpu_seconds and peak_mb
        (10⁶ bytes, of the job that took most).

    Raises:
        AdvdetectError: A measurement is damaged.
    """
    rows = [
        {
            "stage": job.stage,
            "jobs": 1,
            "seconds": job.wall_s,
            "method_seconds": job.method_s,
            "start_up_seconds": job.wall_s - job.method_s,
            "cpu_seconds": job.cpu_s,
            "peak_mb": job.peak_memory_mb,
        }
        for job in map(read_usage, paths)
        if job.succeeded
    ]
    table = pd.DataFrame(rows, columns=["stage", *COLUMNS])
    return table.groupby("stage", as_index=False).agg(COLUMNS)
