"""Trying the trainings of models and the fits of features on a few of the training images.

They are passed over once, and what an image takes of it is what it will take of each epoch.
"""

import copy
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.memory import measured_row
from advdetect.models.activations import activations
from advdetect.protocol import TRAIN
from advdetect.requirements.memory import FORWARD, Need
from advdetect.requirements.training import FITTED, FROM_WEIGHTS
from advdetect.steps import options
from advdetect.training.kinds import epochs_of, make, train_as
from advdetect.training.unfinished import Unfinished
from experiment import Run, Spec
from extent import EPOCHS, TRAINING, Extent, all_epochs
from methods import CRAFTED_ON
from methods import TRAINING as HOW
from pipeline import Pipeline
from trainings import is_trained, needs_unused
from trial import Trial, drawn_model, model_of, some_of, timed

#: Training images that a fit is tried on; a training has those of one step.
_OF_A_FIT = 256


class _Learning(NamedTuple):
    """What is done with a few images.

    Attributes:
        call: Does it.
        model: What counts the passes.
        images: The images.
        epochs: How often it goes over them.
        need: What one of them takes.
        at_a_time: Images of a step; None: as many as there is memory for.
    """

    call: Callable[[], object]
    model: nn.Module
    images: ImageSplit
    epochs: int
    need: Need
    at_a_time: int | None


def try_learning(
    pipeline: Pipeline, seconds: float, device: torch.device
) -> tuple[list[Trial], list[str]]:
    """Try the trainings of all models and the fits of all features.

    Args:
        pipeline: The experiment.
        seconds: For each; what takes longer is cut off there.
        device: Where.

    Returns:
        What they take, and the names of those that cannot be tried: what is trained with other
        models or by a method of its own, and fits that so few images are not enough for.

    Raises:
        AdvdetectError: The data set cannot be loaded, or a model not be made or trained.
    """
    extent, store, trials, left = Extent(pipeline), pipeline.store, [], []
    seed, *others = pipeline.settings["seeds"]
    for run in _trained(pipeline):
        if run.others or needs_unused(run.model) or not is_trained(run.model):
            left.append(f"train {run.model_name}")
            continue
        learning, epochs = _training(pipeline, extent, run, device)
        count = epochs * extent.product(store.model(run, seed), (TRAINING,))
        trials.append(_trial(run, "train", run.model_name, learning, count, seconds))
    for run in pipeline.experiment.runs:
        model = model_of(pipeline, extent, run, device) if run.fitted_features else None
        for name, spec in run.fitted_features.items():
            if model is None:
                left.append(f"fit {name}")
                continue
            count = extent.product(store.fitted(run, seed, name), (EPOCHS, TRAINING))
            try:
                learning = _fit(pipeline, extent, run, spec, model)
                trials.append(_trial(run, "fit", name, learning, count, seconds))
            except AdvdetectError:
                left.append(f"fit {name}")
    whole = [replace(trial, images=trial.images * (1 + len(others))) for trial in trials]
    return whole, list(dict.fromkeys(left))


def _trained(pipeline: Pipeline) -> list[Run]:
    """Return a run for each model that has to learn, also those for attacks and for teaching."""
    experiment, seed = pipeline.experiment, pipeline.settings["seeds"][0]
    found: dict[str, Run] = {}

    def add(run: Run) -> None:
        if is_trained(run.model) or run.model.get(FITTED):
            found.setdefault(pipeline.store.model(run, seed).job, run)
        for other in run.others.values():
            add(other)

    for run in experiment.runs:
        add(run)
        for spec in run.attacks.values():
            if CRAFTED_ON in spec:
                add(experiment.source(run, spec[CRAFTED_ON]))
    return list(found.values())


def _training(
    pipeline: Pipeline, extent: Extent, run: Run, device: torch.device
) -> tuple[_Learning, int]:
    """Return a step of a training, and how many epochs of all images there are."""
    own = run.model[HOW]
    split = extent.source(pipeline.store.split(run, TRAIN))
    images = some_of(split, own["batch_size"])
    model = drawn_model(pipeline, extent, run)[0].to(device)
    start = own.get(FROM_WEIGHTS)
    kind = make(own, {start: model.state_dict()} if start else {})

    def call() -> object:
        trained = copy.deepcopy(model)
        return train_as(kind, trained, images.images, images.labels, own | {"epochs": 1}, seed=0)

    return _Learning(call, model, images, 1, Need(), own["batch_size"]), epochs_of(kind, own)


def _fit(pipeline: Pipeline, extent: Extent, run: Run, spec: Spec, model: nn.Module) -> _Learning:
    """Return a fit on a few images."""
    split = extent.source(pipeline.store.split(run, TRAIN))
    images = some_of(split, _OF_A_FIT)
    once = _once(spec)
    if spec.get("_activations_"):
        layers = pipeline.settings["activations"]
        of_activations = options.bind_target(once, "_fit_", positional=2)

        def of_layers() -> object:
            device = next(model.parameters()).device
            found = activations(model, to_float(images.images).to(device), **layers)
            return of_activations({k: v.cpu() for k, v in found.items()}, images.labels)

        return _Learning(of_layers, model, images, 1, FORWARD, None)
    given: dict[str, Any] = {
        "batch_size": len(images),
        "seed": 0,
        "after_epoch": lambda *_: None,
    }
    fit = options.bind_target(once, "_fit_", positional=3, given=[*given, "unfinished"])

    def of_images() -> object:
        with tempfile.TemporaryDirectory() as folder:
            unfinished = Unfinished(Path(folder, "fitted.safetensors"), {})
            return fit(model, images.images, images.labels, unfinished=unfinished, **given)

    return _Learning(of_images, model, images, all_epochs(once), FORWARD, None)


def _once(spec: Spec) -> Spec:
    """Return a fit's specification with one epoch for all that it trains."""
    once: Spec = {"epochs": 1} if "epochs" in spec else {}
    for key, value in spec.items():
        if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            once[key] = [
                {**part, "epochs": 1} if isinstance(part, Mapping) and "epochs" in part else part
                for part in value
            ]
    return {**spec, **once}


def _trial(
    run: Run, stage: str, name: str, learning: _Learning, count: int, seconds: float
) -> Trial:
    """Try it twice, since a first call finds all cold, if the second has the time."""
    for _ in range(2):
        passes, took, is_whole = timed(learning.call, learning.model, seconds)
        if 2 * took > seconds:
            break
    frozen = copy.deepcopy(learning.model).eval().requires_grad_(False)
    first = learning.images.images[:1].to(next(frozen.parameters()).device)
    number = len(learning.images) * learning.epochs
    return Trial(
        run.name,
        stage,
        name,
        (passes.forward / number, passes.backward / number),
        took / number,
        measured_row(frozen, to_float(first)).bytes(learning.need),
        count,
        is_whole,
        learning.at_a_time,
    )
