"""Compute one feature of the clean images, or of one attack's noisy and adversarial ones."""

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.inference import batch_slices, clean_correct, round_to_8_bits, to_float
from advdetect.io import read_tensors, write_table
from advdetect.models.store import read_model
from advdetect.progress import report, track
from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed
from advdetect.steps import options


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
    parser.add_argument("--fitted", nargs="?", help="auxiliary model, from fit-feature")
    parser.add_argument("--output", required=True, help="file to write: one row per image and kind")


def run(arguments: argparse.Namespace) -> None:
    """Compute the feature of every kind of image and write the table."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    model = read_model(arguments.model, device)
    if arguments.data:
        data = read_split(arguments.data)
        index = clean_correct(model, data, device)
        attack = "clean"
        kinds = {"clean": (index, to_float(data.images[index]))}
    else:
        tensors, attack_facts = read_tensors(arguments.attack)
        attack = attack_facts["name"]
        kinds = _changed_images(tensors, attack)

    extra: dict[str, Any] = {}
    if "_fit_" in spec:
        if not arguments.fitted:
            raise AdvdetectError(f"The feature {arguments.name} needs --fitted (see fit-feature).")
        fitted, _ = read_tensors(arguments.fitted)
        extra["fitted"] = {name: tensor.to(device) for name, tensor in fitted.items()}
    given = ["generator", *extra]
    feature = partial(
        options.bind_target(spec, "_target_", positional=2, given=given), model, **extra
    )

    tables = []
    for kind, (index, images) in kinds.items():
        # Each kind has its own streams, the same for every attack that the image is in.
        generator = SampleGenerator(
            derive_seed(arguments.seed, "feature", arguments.name, kind), index
        )
        columns = _in_batches(
            feature, images, generator, arguments.batch_size, device, f"{arguments.name} {kind}"
        )
        _check_columns(columns, len(index), arguments.name)
        tables.append(pd.DataFrame({"index": index.numpy(), "kind": kind, **columns}))
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
    write_table(arguments.output, pd.concat(tables, ignore_index=True), facts)
    report(f"feature {arguments.name} seed {arguments.seed}: {arguments.output}")


def _changed_images(tensors: Mapping[str, Tensor], attack: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the positions and the images of each kind, as they are and rounded to 8 bits.

    An image that the attack left as it was, as a minimal-norm attack does where it fails, is the
    clean image again and so is its noisy twin: neither is one of these kinds.
    """
    kinds = {}
    for suffix in ("", "_8bit"):
        changed = tensors[f"changed{suffix}"]
        if not changed.any():
            raise AdvdetectError(
                f"The attack {attack} changed no image{' after rounding' if suffix else ''}, so "
                f"there is nothing to detect: make it stronger or remove it."
            )
        for kind in ("noisy", "adversarial"):
            images = tensors[kind][changed]
            kinds[f"{kind}{suffix}"] = (
                tensors["index"][changed],
                round_to_8_bits(images) if suffix else images,
            )
    return kinds


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


def _check_columns(columns: dict[str, Any], count: int, name: str) -> None:
    for column, values in columns.items():
        if values.shape != (count,):
            raise AdvdetectError(
                f"The feature {name} returned '{column}' of shape {values.shape} for {count} "
                f"images: every column must hold one number per image."
            )
        if not (abs(values) < float("inf")).all():
            raise AdvdetectError(
                f"The feature {name} returned values of '{column}' that are infinite or not a "
                f"number: detectors cannot be fitted on them; mend the feature."
            )
