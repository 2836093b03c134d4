"""What the jobs of a finished run took: seconds of start-up and of method, bytes of their files."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from advdetect.files.attack import PASSES
from advdetect.io import read_arrays
from advdetect.usage import read_usage
from job_list import Job
from store import Store
from store_file import StoreFile


@dataclass(frozen=True)
class Measurement:
    """What a job took.

    Attributes:
        job: The job.
        start_up: Wall-clock seconds of start-up: interpreter and imports, or the fork.
        method: Wall-clock seconds in the step itself.
        size: Bytes of the files that it wrote.
    """

    job: Job
    start_up: float
    method: float
    size: int


def measure(jobs: Iterable[Job]) -> list[Measurement]:
    """Return what jobs took; those without a timing or an output are left out.

    Args:
        jobs: Jobs of a run.

    Raises:
        AdvdetectError: A timing is damaged.
    """
    measured = []
    for job in jobs:
        outputs = [Path(output) for output in job.outputs]
        if not all(path.is_file() for path in (Path(job.timing), *outputs)):
            continue
        usage = read_usage(job.timing)
        if usage.succeeded:
            size = sum(path.stat().st_size for path in outputs)
            # The age of a process is known to a hundredth of a second.
            start_up = max(0.0, usage.wall_s - usage.method_s)
            measured.append(Measurement(job, start_up, usage.method_s, size))
    return measured


def share_sweeps(measured: Iterable[Measurement], store: Store) -> list[Measurement]:
    """Give each value of a sweep that shares its batches its share of what all took, by its passes.

    Whichever job came first did the work of the others, so only the sum means anything.

    Args:
        measured: What the jobs of a run took.
        store: The files of that run.

    Raises:
        AdvdetectError: The file of an attack is damaged.
    """
    measured = list(measured)
    groups: dict[tuple[str, ...], list[Measurement]] = {}
    for item in measured:
        made = item.job.made
        if (
            isinstance(made, StoreFile)
            and made.step == "attack"
            and (swept := store.sweep(made.job))
        ):
            groups.setdefault((made.folder, *sorted(swept)), []).append(item)
    shares: dict[str, float] = {}
    for group in groups.values():
        passes = [_passes(item) for item in group]
        per_pass = sum(item.method for item in group) / sum(passes)
        shares |= {item.job.timing: per_pass * n for item, n in zip(group, passes, strict=True)}
    return [replace(item, method=shares.get(item.job.timing, item.method)) for item in measured]


def _passes(attack: Measurement) -> float:
    """Return the passes of an attack, at least 1: those of each image, forward and backward."""
    (path,) = attack.job.outputs
    return max(1.0, sum(float(column.sum()) for column in read_arrays(path, PASSES).values()))
