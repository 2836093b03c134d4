"""Compare single units of a hidden layer with random directions, by the images that excite them."""

import argparse
from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from advdetect import provenance
from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.features.activations import PENULTIMATE
from advdetect.inference import map_batches, to_float
from advdetect.io import read_provenance, write_table
from advdetect.models.activations import activations
from advdetect.models.store import build_model
from advdetect.models.units import (
    class_counts,
    entropy,
    most_active,
    permutation_test,
    purity,
    random_directions,
)
from advdetect.progress import report
from advdetect.requirements.memory import FORWARD
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_model, given_model

UNIT, RANDOM = "unit", "random"
TRAINED, UNTRAINED = "trained", "untrained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, """'{"images": 8, "permutations": 10000}'""")
    options.add_runtime(parser)
    add_model(parser)
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument(
        "--output", required=True, help="file to write: one row per unit or direction"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the images and the purity of each unit of the penultimate layer, and the tests.

    Beside the trained network stands the same one with the weights that were drawn for it.
    """
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    options.check_names(spec, ("images", "permutations"), all_needed=True)
    facts = provenance.describe(
        "units",
        spec,
        arguments.code,
        inputs={name: getattr(arguments, name) for name in ("model", "test")},
        outputs=[arguments.output],
        device=device.type,
        threads=arguments.threads,
    )
    data = read_split(arguments.test)
    if len(data) < spec["images"]:
        raise AdvdetectError(f"units.images: there are only {len(data)} test images.")
    made = read_provenance(arguments.model)
    networks = {
        TRAINED: given_model(arguments, device),
        UNTRAINED: _untrained(made, device),
    }
    parts, facts["tests"] = [], {}
    for name, model in networks.items():
        generator = torch.Generator().manual_seed(derive_seed(made["seed"], "units"))
        image = to_float(data.images[:1]).to(device)
        size = images_at_a_time(arguments, "units", model, image, FORWARD)
        hidden = _penultimate(model, data, size, device)
        table = _excited(hidden, data, spec["images"], generator)
        parts.append(table.assign(network=name))
        facts["tests"][name] = _tests(table, spec["permutations"], generator)
        shown = facts["tests"][name]["purity"]
        report(
            f"units {name}: purity {shown[UNIT]:.3f} of units, {shown[RANDOM]:.3f} of random "
            f"directions, p = {shown['p']:.2g}"
        )
    write_table(arguments.output, pd.concat(parts, ignore_index=True), facts)


def _untrained(made: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Return the model with the weights that were drawn for it, before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(made["seed"], "train"))
        model = build_model(made["model"]["target"], made["model"]["arguments"])
    return model.to(device).requires_grad_(False)


def _penultimate(
    model: nn.Module, data: ImageSplit, batch_size: int, device: torch.device
) -> Tensor:
    def hidden(images: Tensor) -> Tensor:
        return activations(model, to_float(images))[PENULTIMATE].double()

    with torch.no_grad():
        return map_batches(hidden, data.images, batch_size, device)


def _excited(
    hidden: Tensor, data: ImageSplit, images: int, generator: torch.Generator
) -> pd.DataFrame:
    """Return of every unit, and of as many random directions, the images and their classes."""
    width, classes = hidden.shape[1], len(data.class_names)
    parts = []
    for kind, directions in (
        (UNIT, torch.eye(width, dtype=torch.float64)),
        (RANDOM, random_directions(width, width, generator)),
    ):
        rows = most_active(hidden, directions, images)
        counts = class_counts(data.labels[rows], classes)
        columns = {f"image_{place}": rows[:, place].numpy() for place in range(images)}
        columns |= {"purity": purity(counts).numpy(), "entropy": entropy(counts).numpy()}
        parts.append(pd.DataFrame({"direction": kind, "number": range(width)} | columns))
    return pd.concat(parts, ignore_index=True)


def _tests(
    table: pd.DataFrame, permutations: int, generator: torch.Generator
) -> dict[str, dict[str, float]]:
    """Return means, difference and p of purity and entropy, units against random directions."""
    tests = {}
    for quantity in ("purity", "entropy"):
        of = {
            kind: torch.tensor(rows[quantity].tolist(), dtype=torch.float64)
            for kind, rows in table.groupby("direction")
        }
        difference, p = permutation_test(of[UNIT], of[RANDOM], permutations, generator)
        means = {str(kind): values.mean().item() for kind, values in of.items()}
        tests[quantity] = means | {"difference": difference, "p": p}
    return tests
