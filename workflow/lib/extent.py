"""How much an experiment asks of each of its jobs: images, epochs, attacks and so on.

The cost of a job is taken to be proportional to a product of such factors; which, its rule says.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from advdetect.steps import options
from advdetect.steps.prepare_data import SUBSET_KEYS
from composition import Experiment, Spec

TRAINING, TEST = "training images", "test images"
EPOCHS, KEPT = "epochs", "training images kept"
ATTACKS, DETECTORS, SEEDS = "attacks", "detectors", "seeds"
INTERVALS, REPLICATES, EXAMPLES = "cells with intervals", "replicates", "examples"
FEATURES, PATH_POINTS = "features", "points of paths"

#: The factors that a job's seconds in the method are proportional to, by rule.
TIME_FACTORS: dict[str, tuple[str, ...]] = {
    "prepare_data": (),  # the whole data set is read, whatever the subset
    "train": (EPOCHS, TRAINING),
    "attack": (TEST,),
    "fit_feature": (EPOCHS, TRAINING),
    "feature": (TEST, KEPT),
    "feature_clean": (TEST, KEPT),
    "feature_held_out": (TRAINING,),
    "sensitivity": (EXAMPLES,),
    # Each is fitted on every attack and on all attacks but one, and scores them all.
    "detect": (TEST, ATTACKS, ATTACKS, DETECTORS),
    "defend": (TEST, ATTACKS),
    "evaluate": (TEST, SEEDS, INTERVALS, REPLICATES),
    "paired": (TEST, SEEDS, ATTACKS, FEATURES, REPLICATES),
    "tables": (TEST, SEEDS, ATTACKS, REPLICATES),
    "reproduce": (TEST, SEEDS, REPLICATES),
    "eigenvalue_path": (PATH_POINTS,),
    "paper_figure": (TEST, SEEDS),
    "figure": (TEST, SEEDS),
    "report": (TEST, SEEDS, ATTACKS, REPLICATES),
}
#: The factors that the bytes of a job's files are proportional to, by rule.
SIZE_FACTORS: dict[str, tuple[str, ...]] = {
    **TIME_FACTORS,
    "prepare_data": (f"{TRAINING} and {TEST}",),
    "train": (),
    "fit_feature": (KEPT,),
    "feature": (TEST,),
    "feature_clean": (TEST,),
    "evaluate": (SEEDS, ATTACKS, ATTACKS, DETECTORS),
    "paired": (ATTACKS, FEATURES, FEATURES),
    "tables": (ATTACKS,),
    "reproduce": (),
    "paper_figure": (),
    "figure": (ATTACKS,),
    "report": (ATTACKS,),
}
# Parameters of features that bound how many training images they keep.
_BOUNDS = ("reference", "max_reference")


@dataclass(frozen=True)
class Extent:
    """What the cost of an experiment's jobs grows with.

    Attributes:
        experiment: The experiment.
        images: Number of images by split, ``train`` and ``test``.
    """

    experiment: Experiment
    images: Mapping[str, int]

    def product(self, factors: tuple[str, ...], feature: str | None, keeps: bool) -> int:
        """Return the product of factors, at least 1.

        Args:
            factors: Their names.
            feature: The feature that a job is about, if any: its epochs and the training images
                that it keeps count.
            keeps: Whether its auxiliary model keeps training images.
        """
        return prod(self._factor(name, feature, keeps) for name in factors)

    def _factor(self, name: str, feature: str | None, keeps: bool) -> int:
        experiment, settings = self.experiment, self.experiment.settings
        attacks, detectors = len(experiment.attacks), len(experiment.detectors)
        if name == EPOCHS:
            return _epochs(self._spec(feature) if feature else experiment.model.get("training", {}))
        if name == KEPT:
            return self._kept(feature) if keeps else 1
        return {
            TRAINING: self.images["train"],
            TEST: self.images["test"],
            f"{TRAINING} and {TEST}": self.images["train"] + self.images["test"],
            ATTACKS: attacks,
            DETECTORS: detectors,
            SEEDS: len(settings["seeds"]),
            # Of each detector on its own attack, and of the primary one on every pair.
            INTERVALS: detectors * attacks + attacks**2,
            REPLICATES: settings["evaluation"]["replicates"],
            FEATURES: len(experiment.features),
            PATH_POINTS: settings["paths"]["examples"] * settings["paths"]["points"],
            EXAMPLES: settings["sensitivity"]["examples"],
        }[name]

    def _spec(self, feature: str | None) -> Spec:
        experiment = self.experiment
        specs = experiment.features | experiment.computed_features | experiment.fitted_features
        return specs.get(feature or "", {})

    def _kept(self, feature: str | None) -> int:
        spec = self._spec(feature)
        bounds = [spec[name] for name in _BOUNDS if spec.get(name)]
        return min([self.images["train"], *bounds])

    def keeps_training_images(self, path: Path, feature: str | None) -> bool:
        """Return whether an auxiliary model holds a row for each training image it may keep.

        Args:
            path: Its file, made in this experiment.
            feature: The feature.
        """
        return any(shape[:1] == [self._kept(feature)] for shape in _shapes(path))


def count_images(experiment: Experiment, results: str) -> dict[str, int]:
    """Return the number of images of each split.

    Where the configuration sets none they are counted in the experiment's files, or in the data set
    itself where there are none yet.

    Args:
        experiment: The experiment.
        results: Its results folder.

    Raises:
        AdvdetectError: The data set cannot be loaded.
    """
    spec = experiment.dataset
    counts: dict[str, int] = {}
    splits: Mapping[str, Any] | None = None
    for name in ("train", "test"):
        file = Path(results, "data", experiment.dataset_name, f"{name}.safetensors")
        if spec.get(f"{name}_count") is not None:
            counts[name] = spec[f"{name}_count"]
        elif file.is_file():
            counts[name] = max(shape[0] for shape in _shapes(file))
        else:
            if splits is None:
                source = {key: value for key, value in spec.items() if key not in SUBSET_KEYS}
                splits = options.bind_target(source, "_target_")()
            counts[name] = len(splits[name])
    return counts


def _epochs(spec: Mapping[str, Any]) -> int:
    """Return the epochs of all models that a specification trains, 1 where it names none."""
    common = spec.get("epochs", 1)
    parts = [
        part
        for value in spec.values()
        if isinstance(value, list)
        for part in value
        if isinstance(part, Mapping)
    ]
    return sum(part.get("epochs", common) for part in parts) or common


def _shapes(path: Path) -> list[list[int]]:
    with safe_open(path, framework="np") as file:
        return [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
