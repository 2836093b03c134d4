"""Predicting what jobs will take from what like jobs of another run took."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from extent import KEPT, SIZE_FACTORS, TIME_FACTORS, Extent
from job_list import Job
from measurement import Measurement

_RUN = ("dataset", "model", "seed")  # wildcards that name no method
#: How near the job is that an estimate is taken from.
SAME, LIKE, RULE = "same job", "same method", "mean of the rule"
Level = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    One run tells what a job took, not how much of that is the same however many images there are.
    If the time in the step is a fixed part and a part in proportion to the factors, neither of them
    negative, it lies between what it was and what it is if all of it grows.

    Attributes:
        job: The job.
        basis: `SAME`, `LIKE` or `RULE`.
        start_up: Wall-clock seconds of start-up.
        fixed: Wall-clock seconds in the step itself if none of them grows, as in the other run.
        scaled: The same if all of them grow with the factors.
        size: Bytes of the files that it writes.
    """

    job: Job
    basis: str
    start_up: float
    fixed: float
    scaled: float
    size: float

    @property
    def least(self) -> float:
        """Wall-clock seconds of the whole job, at least."""
        return self.start_up + min(self.fixed, self.scaled)

    @property
    def most(self) -> float:
        """Wall-clock seconds of the whole job, at most."""
        return self.start_up + max(self.fixed, self.scaled)


class Predictor:
    """Predicts jobs: start-up as it was, time in the step and size by the ratio of their factors.

    The same job of the other run is looked for first, any seed, data set or model of it; then one
    of the same method: another value of an attack's sweep, or the feature of another attack; then
    any of the same rule. Of several the mean is taken, per unit of their factors.

    Args:
        measured: What the jobs of the other run took, sweeps shared out.
        run: The extent of that run.
        target: The extent of the experiment whose jobs are predicted.
    """

    def __init__(self, measured: Iterable[Measurement], run: Extent, target: Extent) -> None:
        self._run, self._target = run, target
        self._keeping = set[str]()
        self._levels: dict[Level, list[Measurement]] = {}
        for item in measured:
            self._note_what_is_kept(item.job)
            for _, level in _levels(item.job):
                self._levels.setdefault(level, []).append(item)

    def predict(self, job: Job) -> Estimate | None:
        """Return what a job will take, or None where the other run has none of its rule."""
        for basis, level in _levels(job):
            if (like := self._levels.get(level)) and job.rule in TIME_FACTORS:
                return Estimate(
                    job=job,
                    basis=basis,
                    start_up=mean(item.start_up for item in like),
                    fixed=mean(item.method for item in like),
                    scaled=self._scaled(job, like, TIME_FACTORS, lambda item: item.method),
                    size=self._scaled(job, like, SIZE_FACTORS, lambda item: item.size),
                )
        return None

    def _scaled(
        self,
        job: Job,
        like: Sequence[Measurement],
        factors: Mapping[str, tuple[str, ...]],
        amount: Callable[[Measurement], float],
    ) -> float:
        of = factors[job.rule]
        per_unit = mean(amount(item) / self._product(self._run, item.job, of) for item in like)
        return per_unit * self._product(self._target, job, of)

    def _product(self, extent: Extent, job: Job, factors: tuple[str, ...]) -> int:
        feature = job.wildcards.get("feature")
        return extent.product(factors, feature, keeps=feature in self._keeping)

    def _note_what_is_kept(self, job: Job) -> None:
        """Remember the features whose auxiliary model grows with the training images."""
        feature = job.wildcards.get("feature")
        if feature and KEPT in SIZE_FACTORS.get(job.rule, ()):
            (path,) = job.outputs
            if self._run.keeps_training_images(Path(path), feature):
                self._keeping.add(feature)


def _levels(job: Job) -> list[tuple[str, Level]]:
    """Return what a job may be predicted from, the nearest first."""
    names = {key: value for key, value in job.wildcards.items() if key not in _RUN}
    levels = [(SAME, (job.rule, tuple(sorted(names.items()))))]
    if "feature" in names and "attack" in names:
        levels.append((LIKE, (job.rule, (("feature", names["feature"]),))))
    elif "attack" in names:
        levels.append((LIKE, (job.rule, (("family", names["attack"].partition(",")[0]),))))
    return [*levels, (RULE, (job.rule, ()))]


def wall_time(jobs: Sequence[Job], seconds: Sequence[float], cores: int) -> float:
    """Return the seconds that jobs take on some cores, each begun when its inputs are there.

    Jobs are taken in the order of the list, as cores come free; Snakemake's own time and waiting
    for memory or disk do not count. A job that asks for more cores than there are gets all.

    Args:
        jobs: The jobs.
        seconds: What each takes.
        cores: At least 1.
    """
    maker = {path: i for i, job in enumerate(jobs) for path in job.outputs}
    waiting_for = [{maker[path] for path in job.inputs if path in maker} for job in jobs]
    needed = [min(job.threads, cores) for job in jobs]
    users: dict[int, list[int]] = {}
    for i, makers in enumerate(waiting_for):
        for made in makers:
            users.setdefault(made, []).append(i)
    ready = [i for i, makers in enumerate(waiting_for) if not makers]
    running: list[tuple[float, int]] = []
    now, free = 0.0, cores
    while ready or running:
        for i in sorted(ready):
            if needed[i] <= free:
                free -= needed[i]
                ready.remove(i)
                heapq.heappush(running, (now + seconds[i], i))
        now, done = heapq.heappop(running)
        free += needed[done]
        for i in users.get(done, []):
            waiting_for[i].discard(done)
            if not waiting_for[i]:
                ready.append(i)
    return now
