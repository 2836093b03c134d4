"""Fit what a feature keeps of training images only, such as auto-encoders or class means."""

import argparse
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError, explain_failure
from advdetect.inference import batch_slices, to_float
from advdetect.io import write_tensors
from advdetect.models.activations import activations
from advdetect.models.guard import unchanged
from advdetect.progress import SECONDS_BETWEEN_LINES, report, track
from advdetect.requirements.memory import FORWARD
from advdetect.requirements.subsets import check_training_images
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_model, given_model
from advdetect.training.unfinished import Unfinished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/magnet.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--train", required=True, help="training split, from prepare-data")
    add_model(parser)
    options.add_activations(parser)
    parser.add_argument("--output", required=True, help="file to write: the fitted model")


def run(arguments: argparse.Namespace) -> None:
    """Fit and write the auxiliary model."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    settings = options.activation_settings(spec, arguments)
    facts = provenance.describe(
        "fit-feature",
        spec,
        arguments.code,
        inputs={"train": arguments.train, "model": arguments.model},
        outputs=[arguments.output],
        keyed={"seed": arguments.seed, **options.keyed_settings(settings)},
        device=device.type,
        threads=arguments.threads,
    )
    model, data = given_model(arguments, device), read_split(arguments.train)
    check_training_images(len(data), "a feature is fitted on some", "leave it out")
    image = to_float(data.images[:1]).to(device)
    job = f"fit-feature {spec['_fit_']}"
    size = images_at_a_time(arguments, job, model, image, FORWARD)
    unfinished = Unfinished(arguments.output, facts)
    given: dict[str, Any] = {}
    if settings is None:
        given = {
            "batch_size": size,
            "seed": derive_seed(arguments.seed, "fit", spec.get("_fit_", "")),
            "after_epoch": _EpochReport(job),
            "unfinished": unfinished,
        }
    fit = options.bind_target(spec, "_fit_", positional=3 if settings is None else 2, given=given)
    inputs: tuple[Any, ...] = (model, data.images)
    if settings is not None:
        inputs = (_collect(model, data.images, size, device, settings, job),)
    who = f"The fit {spec['_fit_']}"
    with unchanged(model, who), explain_failure(who):
        fitted = fit(*inputs, data.labels, **given)
    write_tensors(arguments.output, _checked(fitted, who), facts)
    unfinished.remove()
    report(f"{job} seed {arguments.seed}: {len(data)} training images")


def _collect(
    model: nn.Module,
    images: Tensor,
    batch_size: int,
    device: torch.device,
    settings: Mapping[str, Any],
    job: str,
) -> dict[str, Tensor]:
    """Return the activations of (N, C, H, W) uint8 images by layer, on the CPU."""
    batches = list(batch_slices(len(images), batch_size))
    parts = []
    for rows in track(batches, len(batches), f"{job}, activations", "batch"):
        # Converted batch by batch: a whole split of floats would be four times the memory.
        found = activations(model, to_float(images[rows]).to(device), **settings)
        parts.append({layer: values.cpu() for layer, values in found.items()})
    return {layer: torch.cat([part.pop(layer) for part in parts]) for layer in list(parts[0])}


def _checked(fitted: Any, who: str) -> Mapping[str, Tensor]:
    """Return what a fit returned, if it can be kept."""
    values = fitted.values() if isinstance(fitted, Mapping) else [fitted]
    if not isinstance(fitted, Mapping) or not all(isinstance(value, Tensor) for value in values):
        found = sorted({type(value).__name__ for value in values if not isinstance(value, Tensor)})
        raise AdvdetectError(
            f"{who} returned {' and '.join(found) or 'a tensor'}: it must return a dict of tensors."
        )
    for name, value in fitted.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise AdvdetectError(
                f"{who} returned values of '{name}' that are infinite or not a number: look at its "
                f"parameters and the training images."
            )
    return fitted


class _EpochReport:
    """Says now and then how far the training of a model is."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._shown = time.monotonic()

    def __call__(self, number: int, epoch: int, error: float) -> None:
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            report(f"{self._job}: model {number}, epoch {epoch}, training error {error:.5f}")
