"""The estimate of an experiment of which nothing has run, as a table and sentences."""

from collections.abc import Sequence

from tabulate import tabulate

from advdetect.memory import images_within
from forecast import duration, file_size
from trial import FEW, MORE, Trial

_JOBS = {
    **{"train": "trainings", "fit": "fits of features"},
    **{"attack": "jobs of attacks", "feature": "jobs of features"},
}
_HEADER = ("method", "forward", "backward", "time", "memory", "at a time", "images", "in all")


def preview(
    trials: Sequence[Trial], left: Sequence[str], memory: float, cores: Sequence[int]
) -> str:
    """Return what each method takes of an image, and what all do.

    Args:
        trials: What was tried.
        left: What was not.
        memory: GB that a batch may take.
        cores: Numbers of cores to give the wall time for.
    """
    several = len({trial.run for trial in trials}) > 1
    rows = [_row(trial, memory, several) for trial in trials]
    lines = [tabulate(rows, _HEADER, disable_numparse=True), ""]
    for stage, jobs in _JOBS.items():
        own = [trial for trial in trials if trial.stage == stage]
        if own:
            lines.append(f"All {jobs}: {_sum(own)} of core time.")
    for number in cores:
        least = sum(trial.seconds * trial.images for trial in trials) / number
        more = _more(trials)
        lines.append(
            f"These on {number} core{'s' if number > 1 else ''}: {more}{duration(least)} at best."
        )
    lines.append(
        f"Tried on {FEW} images, or on {MORE} where --seconds allow it, each with its share of the "
        "passes through the model and of the processor's time; in larger batches an image takes "
        "less time, and on a model that is not trained yet attacks end sooner or later than they "
        "will. Trainings and fits were tried on a step's training images; each image counts once "
        "for each epoch. Values of a sweep count one by one, though they may share their passes. "
        "Not counted: data, detectors and what is published; --from takes them from an experiment "
        "that has run."
    )
    if any(not trial.is_whole for trial in trials):
        lines.append("Cut off after --seconds, so that it takes more: >.")
    if left:
        lines.append(
            f"Not tried, since they need what other jobs make first, or more images: "
            f"{', '.join(left)}."
        )
    return "\n".join(lines)


def _row(trial: Trial, memory: float, several: bool) -> list[str]:
    more = _more([trial])
    of = f" of {trial.run}" if several else ""
    fitting = trial.at_a_time or images_within(1e9 * memory, trial.memory)
    return [
        f"{trial.stage} {trial.name}{of}",
        *(f"{more}{number:.4g}" for number in trial.passes),
        f"{more}{_precise(trial.seconds)}",
        file_size(trial.memory),
        str(fitting) if fitting else "too large",
        str(trial.images),
        _sum([trial]),
    ]


def _precise(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _sum(trials: Sequence[Trial]) -> str:
    return f"{_more(trials)}{duration(sum(t.seconds * t.images for t in trials))}"


def _more(trials: Sequence[Trial]) -> str:
    return "" if all(trial.is_whole for trial in trials) else "> "
