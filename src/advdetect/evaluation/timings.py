"""How long each stage took, and how much of it was method and how much start-up of jobs."""

import json
from pathlib import Path

import pandas as pd


def stage_timings(benchmarks: Path, logs: Path) -> pd.DataFrame:
    """Add up the wall-clock times of all jobs, stage by stage.

    Args:
        benchmarks: Folder of Snakemake's ``benchmark:`` files, ``<stage>/….tsv``.
        logs: Folder of the steps' own timings, ``<stage>/….json`` with ``method_s``.

    Returns:
        One row per stage: stage, jobs, seconds (of the whole jobs), method_seconds and
        start_up_seconds (the rest: interpreter, imports, Snakemake's shell).
    """
    rows = []
    for path in sorted(benchmarks.rglob("*.tsv")):
        name = path.relative_to(benchmarks)
        timing = (logs / name).with_suffix(".json")
        if not timing.is_file():
            continue
        seconds = float(pd.read_csv(path, sep="\t")["s"].iloc[0])
        method = json.loads(timing.read_text(encoding="utf-8"))["method_s"]
        rows.append((name.parts[0], 1, seconds, method, seconds - method))
    columns = ["stage", "jobs", "seconds", "method_seconds", "start_up_seconds"]
    return pd.DataFrame(rows, columns=columns).groupby("stage", sort=False, as_index=False).sum()
