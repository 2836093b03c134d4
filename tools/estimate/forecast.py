"""The estimate of what an experiment will take, as a table and sentences."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from estimation import LIKE, STEP, Estimate, wall_time
from extent import TIME_FACTORS
from job_list import Job
from published import Published

UNKNOWN = "unknown"
_HEADER = ("step", "jobs", "done", "core time", "disk", "scale", "in proportion to")
_TIMES = ((3600.0, "h"), (60.0, "min"))
_SIZES = ((1e9, "GB"), (1e6, "MB"))


@dataclass(frozen=True)
class Forecast:
    """What the jobs of an experiment will take.

    Attributes:
        estimates: The jobs that are to run and of which something is known.
        unknown: Those that are to run and of whose kind the other experiment has none.
        finished: Those that are done.
    """

    estimates: Sequence[Estimate]
    unknown: Sequence[Job]
    finished: Sequence[Job]

    def table(self) -> str:
        """Return a row per step and one for all.

        Core time is a range, see `Estimate`; the scale is its part that may grow, and where it
        differs between the jobs the least and the greatest.
        """
        jobs = [*(item.job for item in self.estimates), *self.unknown, *self.finished]
        present = {job.step for job in jobs}
        rows = [
            [
                *self._row(step, {step}),
                _scales([item for item in self.estimates if item.job.step == step]),
                " × ".join(factors) or "nothing",
            ]
            for step, factors in TIME_FACTORS.items()
            if step in present
        ]
        total = [*self._row("all", present), "", ""]
        return tabulate([*rows, total], _HEADER, disable_numparse=True)

    def sentences(self, cores: Iterable[int]) -> list[str]:
        """Return the wall time on several numbers of cores, and what the estimate rests on."""
        jobs = [item.job for item in self.estimates]
        bounds = ([item.least for item in self.estimates], [item.most for item in self.estimates])
        lines = [
            f"Wall time on {number} core{'s' if number > 1 else ''}: "
            f"{_range(*(wall_time(jobs, seconds, number) for seconds in bounds))}."
            for number in cores
        ]
        if self.unknown:
            unknown = _counted(job.kind for job in self.unknown)
            lines.append(
                f"Unknown and in no sum, since the other experiment has no such job: {unknown}."
            )
        for basis, words in ((LIKE, "others of their method"), (STEP, "the mean of their step")):
            names = _counted(_name(item.job) for item in self.estimates if item.basis == basis)
            if names:
                lines.append(f"Not in the other experiment and taken from {words}: {names}.")
        return lines

    def _row(self, title: str, steps: set[str]) -> list[str]:
        """Return title, numbers of jobs, core time and disk of some steps together."""
        estimates = [item for item in self.estimates if item.job.step in steps]
        unknown = sum(job.step in steps for job in self.unknown)
        finished = sum(job.step in steps for job in self.finished)
        sums = [
            _range(
                sum(item.least * item.job.threads for item in estimates),
                sum(item.most * item.job.threads for item in estimates),
            ),
            file_size(sum(item.size for item in estimates)),
        ]
        if unknown:
            sums = [f"{text} + {UNKNOWN}" if estimates else UNKNOWN for text in sums]
        return [title, str(len(estimates) + unknown), str(finished), *sums]


def duration(seconds: float) -> str:
    """Return a time with two or three digits: ``47 s``, ``3.2 min``, ``14.0 h``."""
    for size, unit in _TIMES:
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def file_size(size: float) -> str:
    """Return a number of bytes with two or three digits: ``12 kB``, ``3.2 MB``."""
    for unit_size, unit in _SIZES:
        if size >= unit_size:
            return f"{size / unit_size:.1f} {unit}"
    return f"{size / 1e3:.0f} kB"


def _range(least: float, most: float) -> str:
    return " to ".join(dict.fromkeys((duration(least), duration(most))))


def _scales(estimates: Sequence[Estimate]) -> str:
    scales = [item.scaled / item.fixed for item in estimates if item.fixed]
    shown = dict.fromkeys(f"{scale:.3g}" for scale in (min(scales), max(scales))) if scales else ()
    return " to ".join(shown)


def _name(job: Job) -> str:
    """Return the step and the method of a job, ``feature kd``; of what is published its rule."""
    if isinstance(job.made, Published):
        return job.made.rule
    names = job.made.names
    method = names.get("feature") or names.get("attack") or names.get("defense") or ""
    return f"{job.step} {method}".strip()


def _counted(names: Iterable[str]) -> str:
    """Name each once, in alphabetical order: that of Snakemake's jobs is a matter of chance."""
    counts = sorted(Counter(names).items())
    return ", ".join(name if count == 1 else f"{name} ({count} jobs)" for name, count in counts)
