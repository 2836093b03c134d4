"""Fit a feature's auxiliary model (a density, an auto-encoder) on training images only."""

import argparse

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.inference import to_float
from advdetect.io import write_tensors
from advdetect.models.store import read_model
from advdetect.progress import report
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/kd.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--data", required=True, help="training split, from prepare-data")
    parser.add_argument("--model", required=True, help="model, from train")
    parser.add_argument("--output", required=True, help="file to write: the fitted model")


def run(arguments: argparse.Namespace) -> None:
    """Fit and write the auxiliary model."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    fit = options.bind_target(spec, "_fit_", positional=3, given=["batch_size"])
    model = read_model(arguments.model, device)
    data = read_split(arguments.data)
    fitted = fit(
        model,
        to_float(data.images),
        data.labels,
        batch_size=arguments.batch_size,
    )
    facts = provenance.describe(
        "fit-feature",
        spec,
        arguments.code,
        seed=arguments.seed,
        device=device.type,
        threads=arguments.threads,
    )
    write_tensors(arguments.output, fitted, facts)
    report(f"fit-feature {spec['_fit_']} seed {arguments.seed}: {len(data)} training images")
