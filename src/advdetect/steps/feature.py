"""Compute one feature of the clean images, or of one attack's noisy and adversarial ones."""

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError, explain_failure
from advdetect.files.feature import checked, write_feature
from advdetect.inference import batch_slices
from advdetect.io import read_provenance, read_tensors
from advdetect.many_classes import CHOSEN, choices
from advdetect.models.activations import activations
from advdetect.models.guard import unchanged
from advdetect.progress import report, track
from advdetect.protocol import HELD_OUT, UNCHANGED
from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_model, given_model
from advdetect.steps.images import Kind, add_bits, images_to_test, split_images

#: (N,) values by column of a batch of images, with their random streams.
Feature = Callable[[Tensor, SampleGenerator], dict[str, Tensor]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/max_probability.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--name", required=True, help="name of the feature, for random numbers")
    add_model(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--test", help="test split: of its images that the model gets right")
    source.add_argument(
        "--train",
        help="training split: of its images that the auxiliary model has not seen",
    )
    parser.add_argument("--clean", help="with --test: which images those are, from classify")
    parser.add_argument(
        "--attack",
        help="with --test: of the noisy and the adversarial images of this attack instead",
    )
    add_bits(parser)
    options.add_activations(parser)
    options.add_fitted(parser)
    parser.add_argument("--output", required=True, help="file to write: one row per image and kind")


def run(arguments: argparse.Namespace) -> None:
    """Read the images, compute the feature of every kind batch by batch, check it and write it."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    settings = options.activation_settings(spec, arguments)
    path = options.fitted_path(spec, arguments)
    roles = ("model", "test", "train", "clean", "attack", "fitted")
    facts = provenance.describe(
        "feature",
        spec,
        arguments.code,
        inputs={name: file for name in roles if (file := getattr(arguments, name))},
        outputs=[arguments.output],
        keyed={
            "name": arguments.name,
            "seed": arguments.seed,
            **({"bits": arguments.bits} if _has_forms(arguments.attack) else {}),
            **options.keyed_settings(settings),
        },
        device=device.type,
        threads=arguments.threads,
    )
    model = given_model(arguments, device)
    fitted = read_tensors(path)[0] if path else None
    facts["attack"], kinds = _read_images(arguments, fitted or {})
    feature = _bound(arguments.name, spec, model, fitted, settings, device)

    values = {}
    size = _images_at_a_time(arguments, spec, model, kinds, device)
    with choices(f"feature {arguments.name}") as chosen:
        for name, kind in kinds.items():
            of = name if name == facts["attack"] else f"{facts['attack']}, {name}"
            job = f"feature {arguments.name} of {of}"
            columns = _columns(arguments, feature, name, kind, size, device, job)
            if columns:
                values[name] = kind.index, columns
            else:
                report(
                    f"feature {arguments.name}: warning: the attack {facts['attack']} changed no "
                    f"image{' after rounding' if name.endswith('8bit') else ''}: no {name} values"
                )
    if chosen:
        facts[CHOSEN] = chosen
    write_feature(arguments.output, values, facts)
    report(f"feature {arguments.name} seed {arguments.seed}: {arguments.output}")


def _has_forms(attack: str | None) -> bool:
    """Return whether the images are an attack's, and not those of the control, of one form."""
    return attack is not None and read_provenance(attack).get("name") != UNCHANGED


def _images_at_a_time(
    arguments: argparse.Namespace,
    spec: Mapping[str, Any],
    model: nn.Module,
    kinds: Mapping[str, Kind],
    device: torch.device,
) -> int:
    for kind in kinds.values():
        if len(kind.index):
            image = kind.images(slice(0, 1)).to(device)
            return images_at_a_time(arguments, f"feature {arguments.name}", model, image, spec)
    return 1  # there is none


def _columns(
    arguments: argparse.Namespace,
    feature: Feature,
    name: str,
    kind: Kind,
    size: int,
    device: torch.device,
    job: str,
) -> dict[str, Tensor]:
    """Compute the columns of the images of a kind batch by batch; none of no images."""
    # Each kind has its own streams, the same for every attack that the image is in.
    seed = derive_seed(arguments.seed, "feature", arguments.name, name)
    streams = SampleGenerator(seed, kind.index)
    batches = list(batch_slices(len(kind.index), size))
    parts = [
        feature(kind.images(rows).to(device), streams[rows])
        for rows in track(batches, len(batches), job, "batch")
    ]
    return (
        {column: torch.cat([part[column] for part in parts]) for column in parts[0]}
        if parts
        else {}
    )


def _read_images(
    arguments: argparse.Namespace, fitted: Mapping[str, Tensor]
) -> tuple[str, dict[str, Kind]]:
    """Return what the images are and those of each kind."""
    if arguments.test:
        if not arguments.clean:
            raise AdvdetectError("--test needs --clean, the file from classify.")
        return images_to_test(arguments.test, arguments.clean, arguments.attack, arguments.bits)
    if arguments.attack:
        raise AdvdetectError("--attack goes with --test, the test split, not with --train.")
    if HELD_OUT not in fitted:
        raise AdvdetectError(
            f"The auxiliary model of {arguments.name} has no images that it was not fitted on."
        )
    return HELD_OUT, {HELD_OUT: split_images(read_split(arguments.train), fitted[HELD_OUT])}


def _bound(
    name: str,
    spec: Mapping[str, Any],
    model: nn.Module,
    fitted: Mapping[str, Tensor] | None,
    settings: Mapping[str, Any] | None,
    device: torch.device,
) -> Feature:
    """Return the feature with all that its specification declares: what is fitted, activations."""
    names = ["generator"]
    names += [] if fitted is None else ["fitted"]
    names += [] if settings is None else ["activations"]
    feature = options.bind_target(spec, "_target_", positional=2, given=names)
    who = f"The feature {name}"

    def compute(images: Tensor, generator: SampleGenerator) -> dict[str, Tensor]:
        given: dict[str, Any] = {}
        if fitted is not None:  # new each time, since the user's code may write into it
            given["fitted"] = {key: values.clone().to(device) for key, values in fitted.items()}
        if settings is not None:
            given["activations"] = activations(model, images, **settings)
        with unchanged(model, who), explain_failure(who):
            columns = feature(model, images, generator=generator, **given)
        return checked(columns, len(images), who)

    return compute
