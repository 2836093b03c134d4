"""Fit a feature's auxiliary model (such as auto-encoders) on training images only."""

import argparse
import time

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.io import write_tensors
from advdetect.models.store import read_model
from advdetect.progress import SECONDS_BETWEEN_LINES, report
from advdetect.seeding import derive_seed
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/magnet.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--data", required=True, help="training split, from prepare-data")
    parser.add_argument("--model", required=True, help="model, from train")
    parser.add_argument("--output", required=True, help="file to write: the fitted model")


def run(arguments: argparse.Namespace) -> None:
    """Fit and write the auxiliary model."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    given = ["batch_size", "seed", "after_epoch"]
    fit = options.bind_target(spec, "_fit_", positional=3, given=given)
    model = read_model(arguments.model, device)
    data = read_split(arguments.data)
    fitted = fit(
        model,
        data.images,
        data.labels,
        batch_size=arguments.batch_size,
        seed=derive_seed(arguments.seed, "fit", spec["_fit_"]),
        after_epoch=_EpochReport(),
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


class _EpochReport:
    """Says now and then how far the training of a model is."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, number: int, epoch: int, error: float) -> None:
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            report(f"model {number}, epoch {epoch}: training error {error:.5f}")
