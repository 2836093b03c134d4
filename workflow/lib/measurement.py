"""What the jobs of a finished run took: seconds of start-up and of method, bytes of their files."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from advdetect.errors import AdvdetectError
from advdetect.io import read_json
from job_list import Job
from sweeps import Spec, sweep_values


@dataclass(frozen=True)
class Measurement:
    """What a job took.

    Attributes:
        job: The job.
        start_up: Wall-clock seconds of start-up: interpreter, imports, Snakemake's shell.
        method: Wall-clock seconds in the step itself.
        size: Bytes of the files that it wrote.
    """

    job: Job
    start_up: float
    method: float
    size: int


def measure(jobs: Iterable[Job]) -> list[Measurement]:
    """Return what jobs took; those without a benchmark, a timing or an output are left out.

    Args:
        jobs: Jobs of a run.

    Raises:
        AdvdetectError: A benchmark or a timing is damaged.
    """
    measured = []
    for job in jobs:
        timing = next((Path(log) for log in job.logs if log.endswith(".json")), None)
        files = [Path(job.benchmark), *map(Path, job.outputs)]
        if timing is None or not all(path.is_file() for path in (timing, *files)):
            continue
        method, seconds = _method_seconds(timing), _job_seconds(Path(job.benchmark))
        size = sum(path.stat().st_size for path in map(Path, job.outputs))
        # The two clocks differ by their rounding.
        measured.append(Measurement(job, max(0.0, seconds - method), min(method, seconds), size))
    return measured


def share_sweeps(measured: Iterable[Measurement], attacks: Mapping[str, Spec]) -> list[Measurement]:
    """Give each value of a sweep that shares its batches an equal share of what all took.

    Whichever job came first did the work of the others, so only the sum means anything.

    Args:
        measured: What the jobs of a run took.
        attacks: The run's attacks, specification by name.
    """
    measured = list(measured)
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for item in measured:
        if sweep := _sweep(item.job, attacks):
            groups.setdefault((item.job.wildcards["seed"], *sorted(sweep)), []).append(item)
    shares = {
        item.job.benchmark: mean(member.method for member in group)
        for group in groups.values()
        for item in group
    }
    return [replace(item, method=shares.get(item.job.benchmark, item.method)) for item in measured]


def _method_seconds(timing: Path) -> float:
    """Read what a step says of itself."""
    try:
        return float(read_json(timing)["method_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise AdvdetectError(_damaged(timing)) from error


def _job_seconds(benchmark: Path) -> float:
    """Read the first repeat of Snakemake's benchmark."""
    try:
        with benchmark.open(encoding="utf-8", newline="") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (StopIteration, KeyError, TypeError, ValueError) as error:
        raise AdvdetectError(_damaged(benchmark)) from error


def _damaged(path: Path) -> str:
    return f"The file {path} holds no time: delete it, and its job counts as not measured."


def _sweep(job: Job, attacks: Mapping[str, Spec]) -> Mapping[str, Spec]:
    return sweep_values(job.wildcards["attack"], attacks) if job.rule == "attack" else {}
