"""Compute an activation feature of the clean images, or of one attack's noisy and adversarial ones.

Nothing here needs torch, whose import takes longer than these features do.
"""

import argparse
from typing import Any

from advdetect import provenance
from advdetect.io import read_all_arrays, read_provenance, write_table
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.activation_file import read_activations, read_source
from advdetect.steps.columns import feature_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/feature/kd.yaml")
    parser.add_argument("--name", required=True, help="name of the feature")
    parser.add_argument("--activations", required=True, help="file from activations")
    options.add_fitted(parser, "fit-activation-feature")
    parser.add_argument("--output", required=True, help="file to write: one row per image and kind")


def run(arguments: argparse.Namespace) -> None:
    """Compute the feature of every kind of image and write the table."""
    spec = options.read_spec(arguments)
    given: dict[str, Any] = {}
    if path := options.fitted_path(spec, arguments):
        given["fitted"] = read_all_arrays(path)
    feature = options.bind_target(spec, "_target_", positional=1, given=given)
    attack, names = read_source(arguments.activations)
    kinds = {}
    for kind in names:
        index, activations = read_activations(arguments.activations, kind)
        kinds[kind] = (index, feature(activations, **given))
    facts = provenance.describe(
        "activation-feature",
        spec,
        arguments.code,
        name=arguments.name,
        attack=attack,
        seed=read_provenance(arguments.activations).get("seed"),
    )
    write_table(arguments.output, feature_table(kinds, arguments.name), facts)
    report(f"feature {arguments.name}: {arguments.output}")
