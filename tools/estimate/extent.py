"""How much an experiment asks of each of its jobs: images, epochs, attacks and so on.

The cost of a job is taken to be proportional to a product of such factors; which, its step says.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from advdetect.data.split import Split
from advdetect.data.subset import hold_out_validation
from advdetect.identity import canonical_json
from advdetect.protocol import POSITIVES, TRAIN, UNCHANGED, UNUSED
from advdetect.steps import options
from advdetect.steps.prepare_data import SUBSET_KEYS
from certification import USES
from experiment import Run, Spec
from job_list import Made
from pipeline import Pipeline
from published import Published
from store_file import StoreFile

IMAGES, TRAINING, TEST = "images", "training images", "test images"
EPOCHS, KEPT = "epochs", "training images kept"
ATTACKS, DETECTORS, SEEDS = "attacks", "detectors", "seeds"
INTERVALS, REPLICATES, EXAMPLES = "cells with intervals", "replicates", "examples"
DRAWS = "draws of attacked or clean images"
FEATURES, PATH_POINTS, FILES = "features", "points of paths", "files"

#: The factors that a job's seconds in the method are proportional to, by step.
TIME_FACTORS: dict[str, tuple[str, ...]] = {
    "prepare-data": (),  # the whole data set is read, whatever the subset
    "train": (EPOCHS, TRAINING),
    "classify": (TEST,),
    "attack": (TEST,),
    "transfer": (TEST,),
    "best-of": (TEST,),
    "fit-feature": (EPOCHS, TRAINING),
    "feature": (IMAGES, KEPT),
    "sensitivity": (EXAMPLES,),
    "eigenvalue-path": (PATH_POINTS,),
    "units": (TEST,),
    "defend": (TEST, ATTACKS),
    "certify": (DRAWS,),
    # Each is fitted on every attack and on all attacks but one, and scores them all.
    "fit-detectors": (TEST, ATTACKS, ATTACKS, DETECTORS),
    "score": (TEST, ATTACKS, ATTACKS, DETECTORS),
    "evaluate": (TEST, SEEDS, INTERVALS, REPLICATES),
    "paired": (TEST, SEEDS, ATTACKS, FEATURES, REPLICATES),
    "tables": (TEST, SEEDS, ATTACKS, REPLICATES),
    "reproduce": (TEST, SEEDS, REPLICATES),
    "certified": (TEST, SEEDS, REPLICATES),
    "figure": (TEST, SEEDS),
    "report": (TEST, SEEDS, ATTACKS, REPLICATES),
    "manifest": (FILES,),
}
#: The factors that the bytes of a job's files are proportional to, by step.
SIZE_FACTORS: dict[str, tuple[str, ...]] = {
    **TIME_FACTORS,
    "prepare-data": (IMAGES,),
    "train": (),
    "fit-feature": (KEPT,),
    "feature": (IMAGES,),
    "evaluate": (SEEDS, ATTACKS, ATTACKS, DETECTORS),
    "paired": (ATTACKS, FEATURES, FEATURES),
    "tables": (ATTACKS,),
    "reproduce": (),
    "certified": (),
    "figure": (ATTACKS,),
    "report": (ATTACKS,),
}
# Parameters of features that bound how many training images they keep.
_BOUNDS = ("reference", "max_reference")


class Extent:
    """What the cost of an experiment's jobs grows with.

    A file of the store tells its own factors, whichever run it is of: by its specification and by
    what it is made from. What is published has those of the runs that it is made from, summed.

    Args:
        pipeline: The experiment.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._counts: dict[str, int] = {}
        self._loaded: dict[str, dict[str, Split]] = {}

    def product(self, made: Made, factors: tuple[str, ...], *, keeps: bool = False) -> int:
        """Return the product of factors, at least 1.

        Args:
            made: What a job makes.
            factors: Their names.
            keeps: Whether the auxiliary model of its feature keeps training images.

        Raises:
            AdvdetectError: The data set cannot be loaded.
        """
        if isinstance(made, StoreFile):
            return max(1, prod(self._of_file(made, name, keeps) for name in factors))
        if FILES in factors:
            return max(1, sum(map(len, made.inputs.values())))
        return max(
            1, sum(prod(self._of_run(run, name) for name in factors) for run in self._runs(made))
        )

    def keeps_training_images(self, path: Path, fitted: StoreFile) -> bool:
        """Return whether an auxiliary model holds a row for each training image it may keep.

        Args:
            path: Where it lies.
            fitted: The auxiliary model.
        """
        return any(shape[:1] == [self._kept(fitted)] for shape in _shapes(path))

    def images(self, split: StoreFile) -> int:
        """Return the number of images of a split.

        Where the configuration sets none they are counted in the split's file, or in the data set
        itself where there is none yet.

        Raises:
            AdvdetectError: The data set cannot be loaded.
        """
        if split.job not in self._counts:
            path = Path(self._pipeline.results, "store", split.path)
            # The count of those that are unused is how many are not.
            count = None if split.option("--split") == UNUSED else spec_of(split)["count"]
            if count is None and path.is_file():
                count = max(shape[0] for shape in _shapes(path))
            self._counts[split.job] = self._count_source(split) if count is None else count
        return self._counts[split.job]

    def source(self, split: StoreFile) -> Split:
        """Return what a split is drawn from: the training or the test images of its data set.

        Raises:
            AdvdetectError: The data set cannot be loaded.
        """
        spec = spec_of(split)
        source = {key: value for key, value in spec.items() if key not in SUBSET_KEYS}
        for run in self._pipeline.experiment.runs:
            if run.dataset_name == split.names["dataset"] and run.dataset.get("root"):
                source["root"] = run.dataset["root"]
        key = canonical_json(source)
        if key not in self._loaded:
            self._loaded[key] = options.bind_target(source, "_target_")()
        splits = self._loaded[key]
        if split.option("--evaluate-on") == "validation":
            parts = hold_out_validation(splits[TRAIN], spec["subset_seed"])
            splits = dict(zip((TRAIN, "test"), parts, strict=True))
        return splits[TRAIN if split.option("--split") == UNUSED else split.option("--split")]

    def _of_file(self, file: StoreFile, factor: str, keeps: bool) -> int:
        if factor == TRAINING and file.inputs.get(UNUSED):
            return 1  # how many of them are used is the affair of the kind of training
        if factor in (TRAINING, TEST):
            return self.images(_split(file, TRAIN if factor == TRAINING else "test"))
        if factor == IMAGES:
            return self._own_images(file)
        if factor == KEPT:
            fitted = auxiliary_model(file)
            return self._kept(fitted) if fitted and keeps else 1
        if factor == ATTACKS:
            made = [made for made in file.inputs["attacks"] if isinstance(made, StoreFile)]
            return sum(attack.names["attack"] != UNCHANGED for attack in made)
        if factor == DRAWS:
            return _draws(file)
        spec = spec_of(next(_upstream(file, "fit-detectors")) if factor == DETECTORS else file)
        if factor == DETECTORS:
            return len(spec["detectors"])
        if factor == EPOCHS:
            return all_epochs((spec.get("training") or {}) if file.step == "train" else spec)
        return {EXAMPLES: 1, PATH_POINTS: spec.get("points", 1)}[factor] * spec["examples"]

    def _of_run(self, run: Run, factor: str) -> int:
        settings, attacks, detectors = self._pipeline.settings, len(run.attacks), len(run.detectors)
        evaluation = settings["evaluation"]
        if factor == TEST:
            return self.images(self._pipeline.store.split(run, "test"))
        return {
            ATTACKS: attacks,
            DETECTORS: detectors,
            FEATURES: len(run.features),
            SEEDS: len(settings["seeds"]),
            # Of each detector on its own attack, and in one form of the primary one on every pair.
            INTERVALS: len(evaluation["bits"]) * len(POSITIVES) * detectors * attacks + attacks**2,
            REPLICATES: evaluation["replicates"],
        }[factor]

    def _runs(self, published: Published) -> Sequence[Run]:
        """Return the runs that something published is made from; all, if from tables only."""
        jobs = [
            file.job
            for files in published.inputs.values()
            for file in files
            if isinstance(file, StoreFile)
        ]
        seed = self._pipeline.settings["seeds"][0]
        runs = self._pipeline.experiment.runs
        folders = [f"{self._pipeline.store.model(run, seed).folder}/" for run in runs]
        own = [
            run
            for run, folder in zip(runs, folders, strict=True)
            if any(job.startswith(folder) for job in jobs)
        ]
        return own or runs

    def _own_images(self, file: StoreFile) -> int:
        """Return the number of images of a split, or of those that a feature is computed of."""
        if file.step == "prepare-data":
            return self.images(file)
        return self.images(_split(file, TRAIN if file.inputs.get(TRAIN) else "test"))

    def _kept(self, fitted: StoreFile) -> int:
        spec = spec_of(fitted)
        bounds = [spec[name] for name in _BOUNDS if spec.get(name)]
        return min([self.images(_split(fitted, TRAIN)), *bounds])

    def _count_source(self, split: StoreFile) -> int:
        there = len(self.source(split))
        return there - spec_of(split)["count"] if split.option("--split") == UNUSED else there


def spec_of(file: StoreFile) -> Spec:
    """Return the specification of a file."""
    return json.loads(file.option("--spec"))


def _draws(file: StoreFile) -> int:
    """Return the draws of each image, times images, times attacks where they are attacked."""
    spec = spec_of(file)
    each = sum(spec.get(use, 0) for use in itertools.chain(*USES.values()))
    return each * spec["images"] * max(1, len(file.inputs.get("attacks", ())))


def auxiliary_model(made: Made) -> StoreFile | None:
    """Return the auxiliary model that a job fits, or that its feature is computed with, if any."""
    if not isinstance(made, StoreFile):
        return None
    fitted = [made] if made.step == "fit-feature" else made.inputs.get("fitted", ())
    return next((file for file in fitted if isinstance(file, StoreFile)), None)


def _split(file: StoreFile, name: str) -> StoreFile:
    found = _upstream(file, "prepare-data")
    return next(split for split in found if split.option("--split") == name)


def _upstream(file: StoreFile, step: str) -> Iterator[StoreFile]:
    """Yield the files of a step that a file is made from, itself included, the nearest first."""
    level = [file]
    while level:
        yield from (item for item in level if item.step == step)
        inputs = [source for item in level for files in item.inputs.values() for source in files]
        level = list(dict.fromkeys(source for source in inputs if isinstance(source, StoreFile)))


def all_epochs(spec: Mapping[str, Any]) -> int:
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
