"""What differs between two experiments and no factor of their extent counts."""

from collections.abc import Mapping, Sequence
from typing import Any

from advdetect.steps.settings import Settings, differing_settings, flatten
from experiment import Experiment, Run

_COUNTED = {"train_count", "test_count", "epochs", "training.epochs"}
_RUNTIME = ("device", "threads", "batch_size", "memory", "activations")


def other_differences(run: Experiment, target: Experiment) -> list[str]:
    """Return a line for each setting of something that both experiments have but set differently.

    Each run is compared with its like in the other experiment: the only one that there is, the one
    of the same name, or else one of the same data set and model.

    Args:
        run: The experiment that has run.
        target: The other.
    """
    sides: tuple[Settings, Settings] = (_settings(_runtime(run)), _settings(_runtime(target)))
    alone = []
    for ours in target.runs:
        theirs = _like(ours, run.runs)
        of = f" of {ours.name}" if len(target.runs) > 1 else ""
        if theirs is None:
            alone.append(f"the run {ours.name}: the other experiment has none like it")
            continue
        found = [_settings(_owners(each)) for each in (theirs, ours)]
        for side, settings in zip(sides, found, strict=True):
            both = found[0].keys() & found[1].keys()
            side.update({f"{owner}{of}": settings[owner] for owner in both})
    return alone + differing_settings(*sides)


def _like(run: Run, others: Sequence[Run]) -> Run | None:
    same_name = [other for other in others if other.name == run.name]
    where = (run.dataset_name, run.model_name)
    same_place = [other for other in others if (other.dataset_name, other.model_name) == where]
    only = others if len(others) == 1 else ()
    return next(iter([*only, *same_name, *same_place]), None)


def _runtime(experiment: Experiment) -> dict[str, Mapping[str, Any]]:
    return {"runtime": {name: experiment.settings[name] for name in _RUNTIME}}


def _owners(run: Run) -> dict[str, Mapping[str, Any]]:
    return {
        "data set": {"name": run.dataset_name, **run.dataset},
        "model": {"name": run.model_name, **run.model},
        **{f"attack {name}": spec for name, spec in run.attacks.items()},
        **{f"feature {name}": spec for name, spec in run.computed_features.items()},
        **{f"detector {name}": spec for name, spec in run.detectors.items()},
        **{f"defence {name}": spec for name, spec in run.defenses.items()},
    }


def _settings(owners: Mapping[str, Mapping[str, Any]]) -> Settings:
    return {
        owner: {name: {text} for name, text in flatten("", spec) if name not in _COUNTED}
        for owner, spec in owners.items()
    }
