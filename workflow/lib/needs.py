"""What can be computed before a run: whether there are images enough for what is chosen."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.imports import locate
from advdetect.requirements.detection import fitting_count
from advdetect.requirements.subsets import (
    Images,
    check_left_out,
    check_training_images,
    chosen,
)
from advdetect.requirements.training import (
    FITTED,
    LABELS_ONLY,
    check_source_of_weights,
    moments_from_the_data,
)
from advdetect.requirements.weights import check_weights_file, is_name
from experiment import ConfigurationError, Experiment, Run, Spec
from methods import CRAFTED_ON, FILE, REQUIRES, SIZES, TRAINING, WEIGHTS
from trainings import is_trained, needs_unused


def images_of(dataset: Spec) -> Images:
    """Return what is known of a data set before it is loaded: nothing, unless its YAML says how."""
    if SIZES not in dataset:
        return Images()
    with explained("dataset"):
        images: Images = locate(dataset[SIZES])(**parameters(dataset))
    return images


def check_model(model: Spec) -> None:
    """Check that a model has weights, or how to train them.

    Raises:
        ConfigurationError: It has neither.
    """
    with explained():
        check_source_of_weights(model)


def check_needs(run: Run, settings: Mapping[str, Any]) -> None:
    """Check that there are images enough for the methods of a run, as far as that is known.

    Args:
        run: The run.
        settings: Those of the experiment.

    Raises:
        ConfigurationError: A method could not run.
    """
    counts = {key: run.dataset.get(key) for key in ("train_count", "test_count")}
    of_all = {"evaluate_on": settings["evaluate_on"], "train_count": None, "test_count": None}
    with explained():
        images = chosen(run.images, **of_all | counts)
    if needs_unused(run.model):
        with explained(f"training={run.training_name}"):
            check_left_out(counts["train_count"], chosen(run.images, **of_all).train)
    if images.test is not None:
        with explained():
            # Detectors have the images that the model gets right: all of them, at most.
            fitting_count(images.test, settings["evaluation"]["train_fraction"])
    users = {f"feature.{k}": v for k, v in (run.fitted_features | run.computed_features).items()}
    users |= {f"defense.{name}": spec for name, spec in run.defenses.items()}
    training = run.model.get(TRAINING) or {}
    users |= {"model": run.model, f"training={run.training_name}": training}
    users |= {f"{TRAINING}.{k}": v for k, v in training.items() if isinstance(v, dict)}
    for name, spec in users.items():
        owner = run.fitted_features.get(spec.get("_fitted_by_", ""), {})
        if REQUIRES in spec:
            with explained(name):
                locate(spec[REQUIRES])(images, parameters(owner), **parameters(spec))


def check_without_training_images(run: Run) -> None:
    """Check that nothing of a run needs training images, if it is known that there are none.

    Raises:
        ConfigurationError: Something does.
    """
    count = run.images.train
    if is_trained(run.model) or run.model.get(FITTED):
        with explained("model"):
            check_training_images(
                count, f"{run.model_name} would be trained", "set model.weights, a file"
            )
    for name in moments_from_the_data(run.model.get("arguments") or {}):
        with explained(f"model.arguments.{name}"):
            check_training_images(count, "auto is what they say", "give the numbers")
    for name in run.fitted_features:
        with explained(f"feature.{name}"):
            check_training_images(count, "it is fitted on some", f"leave {name} out")
    for name in run.defenses:
        with explained(f"defense.{name}"):
            check_training_images(count, "its thresholds are of some", f"leave {name} out")


def check_files(experiment: Experiment) -> None:
    """Check that the weights and images that an experiment names are there.

    Raises:
        ConfigurationError: A file is missing, or one of weights is damaged.
    """
    for run in experiment.models:
        weights = run.model.get(WEIGHTS)
        if weights and not is_name(weights, run.model):
            with explained(f"model.{WEIGHTS}"):
                check_weights_file(weights)
        for name, spec in run.attacks.items():
            if (file := spec.get(FILE)) and not Path(file).is_file():
                raise ConfigurationError(f"attack.{name}.{FILE}: the file {file} does not exist.")


def check_labels_only(experiment: Experiment, run: Run) -> None:
    """Check that what needs more than labels is not asked of a model that answers these only.

    Raises:
        ConfigurationError: An attack would be crafted on it, a feature made of activations, or a
            model learn from more.
    """
    for name, spec in run.attacks.items():
        source = experiment.source(run, spec[CRAFTED_ON]) if CRAFTED_ON in spec else run
        if source.model.get(LABELS_ONLY) and not (FILE in spec or spec.get(LABELS_ONLY)):
            method = name.partition("@")[0]
            raise ConfigurationError(
                f"attack.{name}: the model {source.model_name} answers labels only and has no "
                f"gradient: craft on another ({method}@model), or say {LABELS_ONLY}: true in the "
                f"YAML of an attack that asks for labels alone."
            )
    for setting, other in run.others.items():
        if other.model.get(LABELS_ONLY) and not run.model[TRAINING].get(LABELS_ONLY):
            raise ConfigurationError(
                f"training.{setting}: the model {other.model_name} answers labels only, and "
                f"training={run.training_name} needs more of it."
            )
    for name, spec in run.computed_features.items():
        if run.model.get(LABELS_ONLY) and spec.get("_activations_"):
            raise ConfigurationError(
                f"feature.{name}: the model {run.model_name} answers labels only and has no "
                f"activations: remove the feature."
            )


def parameters(spec: Spec) -> Spec:
    """Return the values of a specification that are its function's."""
    return {key: value for key, value in spec.items() if not key.startswith("_")}


@contextmanager
def explained(where: str = "") -> Iterator[None]:
    """Say of what is wrong where it stands, as the workflow says it."""
    try:
        yield
    except AdvdetectError as error:
        raise ConfigurationError(f"{where}: {error}" if where else str(error)) from error
