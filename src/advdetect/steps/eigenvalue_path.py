"""Follow the largest eigenvalue from a few clean images along their adversarial perturbations."""

import argparse

import numpy as np
import pandas as pd
import torch

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.files.attack import AttackFile
from advdetect.fisher.top_eigenpair import top_eigenpair
from advdetect.inference import to_float
from advdetect.io import write_table
from advdetect.many_classes import CHOSEN, choices
from advdetect.progress import report
from advdetect.randomness import SampleGenerator
from advdetect.selection import evenly_spread
from advdetect.steps import options
from advdetect.steps.classifier import add_model, given_model
from advdetect.steps.images import adversarial_images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, """'{"examples": 8, "points": 41, "length": 2.0}'""")
    options.add_runtime(parser)
    add_model(parser)
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument("--attack", required=True, help="file from attack")
    parser.add_argument(
        "--output", required=True, help="file to write: one row per image and point"
    )


def run(arguments: argparse.Namespace) -> None:
    """Walk from images through some of an attack's successes, and on to ``length`` times it."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    options.check_names(spec, ("examples", "points", "length"), all_needed=True)
    facts = provenance.describe(
        "eigenvalue-path",
        spec,
        arguments.code,
        inputs={name: getattr(arguments, name) for name in ("model", "test", "attack")},
        outputs=[arguments.output],
        device=device.type,
        threads=arguments.threads,
    )
    model = given_model(arguments, device)
    attack = AttackFile(arguments.attack)
    facts["attack"] = attack.name
    success, index, label = (
        torch.from_numpy(attack.column(name)) for name in ("success", "index", "label")
    )
    chosen = success.nonzero().flatten()
    if not len(chosen):
        raise AdvdetectError(
            f"The attack {attack.name} fooled the model on no image, so there is no path to "
            "follow: make it stronger or name another in the figure."
        )
    chosen = chosen[evenly_spread(len(chosen), spec["examples"])]
    index, label = index[chosen], label[chosen]
    clean = to_float(read_split(arguments.test).images[index])
    step = adversarial_images(attack, chosen) - clean
    parts = []
    with choices(f"eigenvalue-path {attack.name}") as made:
        for share in np.linspace(0, spec["length"], spec["points"]):
            images = (clean + float(share) * step).clamp(0, 1)
            with torch.no_grad():
                prediction = model(images.to(device)).argmax(dim=1).cpu()
            streams = SampleGenerator(0, index)  # of start vectors, which leave no trace
            pair = top_eigenpair(model, images.to(device), method="auto", generator=streams)
            parts.append(
                pd.DataFrame(
                    {
                        "index": index.numpy(),
                        "l2": (images - clean).double().flatten(1).norm(dim=1).numpy(),
                        "log10_eigenvalue": pair.log10_value.cpu().numpy(),
                        "fooled": (prediction != label).numpy(),
                    }
                )
            )
    if made:
        facts[CHOSEN] = made
    write_table(arguments.output, pd.concat(parts, ignore_index=True), facts)
    report(f"eigenvalue-path {attack.name}: {len(chosen)} images, {spec['points']} points")
