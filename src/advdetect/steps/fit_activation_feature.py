"""Fit an activation feature's auxiliary model on the activations of training images."""

import argparse

from advdetect import provenance
from advdetect.io import write_arrays
from advdetect.progress import report
from advdetect.protocol import TRAIN
from advdetect.steps import options
from advdetect.steps.activation_file import read_activations, read_training_labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/kd.yaml")
    parser.add_argument("--activations", required=True, help="of the training split")
    parser.add_argument("--output", required=True, help="file to write: the fitted model")


def run(arguments: argparse.Namespace) -> None:
    """Fit and write the auxiliary model."""
    spec = options.read_spec(arguments)
    fit = options.bind_target(spec, "_fit_", positional=2)
    _, activations = read_activations(arguments.activations, TRAIN)
    labels = read_training_labels(arguments.activations)
    fitted = fit(activations, labels)
    facts = provenance.describe("fit-activation-feature", spec, arguments.code)
    write_arrays(arguments.output, fitted, facts)
    report(f"fit-activation-feature {spec['_fit_']}: {len(labels)} training images")
