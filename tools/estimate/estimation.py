"""Predicting what jobs will take from what like jobs of another experiment took."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from extent import SIZE_FACTORS, TIME_FACTORS, Extent, auxiliary_model
from job_list import Job
from measurement import Measurement
from store_file import StoreFile

_RUN = ("dataset", "model")
#: How near the job is that an estimate is taken from.
SAME, LIKE, STEP = "same job", "same method", "mean of the step"
Level = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Estimate:
    """What a job will take.

    One run tells what a job took, not how much of that is the same however many images there are.
    If the time in the step is a fixed part and a part in proportion to the factors, neither of them
    negative, it lies between what it was and what it is if all of it grows.

    Attributes:
        job: The job.
        basis: `SAME`, `LIKE` or `STEP`.
        start_up: Wall-clock seconds of start-up.
        fixed: Wall-clock seconds in the step itself if none of them grows, as in the other one.
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

    The same job of the other experiment is looked for first, any seed of it; then one of the same
    method: another value of an attack's sweep, or the feature of another attack. Both are looked
    for with the same data set and model, then with any; at last any job of the same step is taken,
    if possible of the same data set and model. Of several the mean is taken, per unit of their
    factors.

    Args:
        measured: What the jobs of the other experiment took, sweeps shared out.
        run: The extent of that experiment.
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
        """Return what a job will take, or None where the other experiment has none like it."""
        for basis, level in _levels(job):
            if like := self._levels.get(level):
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
        of = factors[job.step]
        per_unit = mean(amount(item) / self._product(self._run, item.job, of) for item in like)
        return per_unit * self._product(self._target, job, of)

    def _product(self, extent: Extent, job: Job, factors: tuple[str, ...]) -> int:
        fitted = auxiliary_model(job.made)
        keeps = fitted is not None and fitted.names["feature"] in self._keeping
        return extent.product(job.made, factors, keeps=keeps)

    def _note_what_is_kept(self, job: Job) -> None:
        """Remember the features whose auxiliary model grows with the training images."""
        fitted = auxiliary_model(job.made)
        if fitted and fitted is job.made:
            (path,) = job.outputs
            if self._run.keeps_training_images(Path(path), fitted):
                self._keeping.add(fitted.names["feature"])


def _levels(job: Job) -> list[tuple[str, Level]]:
    """Return what a job may be predicted from, the nearest first."""
    made = job.made
    step = ("step", job.kind)
    if not isinstance(made, StoreFile):
        return [(SAME, (("rule", made.rule),)), (STEP, (step,))]
    names = {key: str(value) for key, value in made.names.items() if key != "seed"}
    run = tuple((key, names.pop(key)) for key in _RUN if key in names)
    methods = [(SAME, (step, *sorted(names.items())))]
    if "feature" in names and "attack" in names:
        methods.append((LIKE, (step, ("of feature", names["feature"]))))
    elif "attack" in names:
        methods.append((LIKE, (step, ("family", names["attack"].partition(",")[0]))))
    any_job = (STEP, (step,))
    return [
        (basis, (*where, *level))
        for group in (methods, [any_job])
        for where in (run, ())
        for basis, level in group
    ]


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
