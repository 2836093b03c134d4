"""Metrics of one feature's detectors, over seeds and images, with bootstrap intervals."""

import argparse

from advdetect.evaluation.metrics import evaluate_feature
from advdetect.io import atomic_path, read_provenance, read_table
from advdetect.progress import report
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument("--name", required=True, help="name of the feature")
    parser.add_argument(
        "--scores",
        nargs="+",
        required=True,
        metavar="FILE",
        help="scores of each seed, from detect",
    )
    options.add_bootstrap(parser)
    parser.add_argument(
        "--primary-detector",
        default="random_forest",
        help="the detector whose cross-attack cells get intervals, too",
    )
    parser.add_argument("--output", required=True, help="CSV file to write")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write the metrics."""
    seeds = {read_provenance(path)["seed"]: read_table(path) for path in arguments.scores}
    metrics = evaluate_feature(
        seeds,
        replicates=arguments.replicates,
        seed=arguments.bootstrap_seed,
        primary_detector=arguments.primary_detector,
    )
    metrics.insert(0, "feature", arguments.name)
    with atomic_path(arguments.output) as temporary:
        metrics.to_csv(temporary, index=False)
    report(f"evaluate {arguments.name}: {len(seeds)} seeds, {len(metrics)} values")
