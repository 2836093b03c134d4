"""Compute one feature of the clean images, or of one attack's noisy and adversarial ones."""

import argparse
from functools import partial
from typing import Any

import torch
from torch import Tensor

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.inference import batch_slices
from advdetect.io import read_tensors, write_table
from advdetect.models.store import read_model
from advdetect.progress import report, track
from advdetect.protocol import CLEAN, HELD_OUT
from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.steps.columns import feature_table
from advdetect.steps.images import (
    changed_images,
    clean_images,
    held_out_images,
    read_attack,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/max_probability.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--name", required=True, help="name of the feature, for random numbers")
    parser.add_argument("--model", required=True, help="model, from train")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="test split: the feature of its clean-correct images")
    source.add_argument("--attack", help="attack file: of its noisy and adversarial images")
    source.add_argument(
        "--held-out",
        help="training split: of the images that the auxiliary model has not seen",
    )
    options.add_fitted(parser, "fit-feature")
    parser.add_argument("--output", required=True, help="file to write: one row per image and kind")


def run(arguments: argparse.Namespace) -> None:
    """Compute the feature of every kind of image and write the table."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    model = read_model(arguments.model, device)
    extra: dict[str, Any] = {}
    if path := options.fitted_path(spec, arguments):
        fitted, _ = read_tensors(path)
        extra["fitted"] = {name: tensor.to(device) for name, tensor in fitted.items()}
    if arguments.data:
        attack, kinds = CLEAN, clean_images(read_split(arguments.data), model, device)
    elif arguments.attack:
        attack, tensors = read_attack(arguments.attack)
        kinds = changed_images(attack, tensors)
    else:
        if HELD_OUT not in extra.get("fitted", {}):
            raise AdvdetectError(
                f"The auxiliary model of {arguments.name} has no images that it was not fitted on."
            )
        attack = HELD_OUT
        kinds = held_out_images(arguments.held_out, extra["fitted"][HELD_OUT].cpu())
    given = ["generator", *extra]
    feature = partial(
        options.bind_target(spec, "_target_", positional=2, given=given), model, **extra
    )

    columns = {}
    for kind, (index, images) in kinds.items():
        # Each kind has its own streams, the same for every attack that the image is in.
        generator = SampleGenerator(
            derive_seed(arguments.seed, "feature", arguments.name, kind), index
        )
        description = f"{arguments.name} {kind}"
        values = _in_batches(feature, images, generator, arguments.batch_size, device, description)
        columns[kind] = (index.numpy(), values)
    facts = provenance.describe(
        "feature",
        spec,
        arguments.code,
        name=arguments.name,
        attack=attack,
        seed=arguments.seed,
        device=device.type,
        threads=arguments.threads,
    )
    write_table(arguments.output, feature_table(columns, arguments.name), facts)
    report(f"feature {arguments.name} seed {arguments.seed}: {arguments.output}")


def _in_batches(
    feature: Any,
    images: Tensor,
    generator: SampleGenerator,
    batch_size: int,
    device: torch.device,
    description: str,
) -> dict[str, Any]:
    batches = list(batch_slices(len(images), batch_size))
    parts = [
        feature(images[rows].to(device), generator=generator[rows])
        for rows in track(batches, len(batches), f"feature {description}", "batch")
    ]
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
