"""Collect the activations of a model once, for all the features that are computed from them."""

import argparse

import torch
from torch import Tensor

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.inference import batch_slices, to_float
from advdetect.io import read_provenance, write_tensors
from advdetect.models.activations import activations
from advdetect.models.store import read_model
from advdetect.progress import report, track
from advdetect.protocol import CLEAN, TRAIN
from advdetect.steps import options
from advdetect.steps.images import changed_images, clean_images, read_attack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, """'{"layers": null, "max_width": 256}'""")
    options.add_runtime(parser)
    parser.add_argument("--model", required=True, help="model, from train")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="test split: of its clean-correct images")
    source.add_argument("--attack", help="attack file: of its noisy and adversarial images")
    source.add_argument("--train", help="training split: of all of its images, with their labels")
    parser.add_argument("--output", required=True, help="file to write: (N, d) per kind and layer")


def run(arguments: argparse.Namespace) -> None:
    """Collect and write the activations of every kind of image."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    options.check_names(spec, ("layers", "max_width"))
    model = read_model(arguments.model, device)
    tensors: dict[str, Tensor] = {}
    if arguments.train:
        source = TRAIN
        data = read_split(arguments.train)
        # As 8-bit numbers: a whole split of floats would be four times the memory.
        kinds = {TRAIN: (torch.arange(len(data)), data.images)}
        tensors[f"{TRAIN}/labels"] = data.labels
    elif arguments.data:
        source, kinds = CLEAN, clean_images(read_split(arguments.data), model, device)
    else:
        source, attacked = read_attack(arguments.attack)
        kinds = changed_images(source, attacked)

    layers: list[str] = []
    for kind, (index, images) in kinds.items():
        batches = list(batch_slices(len(images), arguments.batch_size))
        parts = []
        for rows in track(batches, len(batches), f"activations {source} {kind}", "batch"):
            batch = images[rows] if images.is_floating_point() else to_float(images[rows])
            found = activations(model, batch.to(device), **spec)
            parts.append({layer: values.float().cpu() for layer, values in found.items()})
        layers = list(parts[0])
        tensors[f"{kind}/index"] = index
        for layer in layers:
            tensors[f"{kind}/layer/{layer}"] = torch.cat([part.pop(layer) for part in parts])
    facts = provenance.describe(
        "activations",
        spec,
        arguments.code,
        attack=source,
        seed=read_provenance(arguments.model).get("seed"),
        kinds=list(kinds),
        layers=layers,
        device=device.type,
        threads=arguments.threads,
    )
    write_tensors(arguments.output, tensors, facts)
    report(f"activations {source}: {len(layers)} layers, {arguments.output}")
