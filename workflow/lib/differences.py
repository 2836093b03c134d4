"""What differs between two experiments and no factor of their extent counts."""

from collections.abc import Mapping
from typing import Any

from advdetect.steps.settings import Settings, differing_settings, flatten
from composition import Experiment

_COUNTED = {"train_count", "test_count", "epochs", "training.epochs"}
_RUNTIME = ("device", "threads", "batch_size", "activations")


def other_differences(run: Experiment, target: Experiment) -> list[str]:
    """Return a line for each setting of something that both experiments have but set differently.

    Args:
        run: The experiment that has run.
        target: The other.
    """
    settings = [_settings(experiment) for experiment in (run, target)]
    both = settings[0].keys() & settings[1].keys()
    return differing_settings(*({owner: side[owner] for owner in both} for side in settings))


def _settings(experiment: Experiment) -> Settings:
    owners: dict[str, Mapping[str, Any]] = {
        "data set": {"name": experiment.dataset_name, **experiment.dataset},
        "model": {"name": experiment.model_name, **experiment.model},
        "runtime": {name: experiment.settings[name] for name in _RUNTIME},
        **{f"attack {name}": spec for name, spec in experiment.attacks.items()},
        **{f"feature {name}": spec for name, spec in experiment.computed_features.items()},
        **{f"detector {name}": spec for name, spec in experiment.detectors.items()},
        **{f"defence {name}": spec for name, spec in experiment.defenses.items()},
    }
    return {
        owner: {name: {text} for name, text in flatten("", spec) if name not in _COUNTED}
        for owner, spec in owners.items()
    }
