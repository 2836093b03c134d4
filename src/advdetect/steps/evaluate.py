"""Metrics of one feature's detectors, over seeds and images, with bootstrap intervals."""

import argparse

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.inputs import score_files
from advdetect.evaluation.metrics import evaluate_feature
from advdetect.files.atomic import atomic_path
from advdetect.files.scores import read_parts
from advdetect.progress import report
from advdetect.protocol import UNCHANGED
from advdetect.runs import group_by_run
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument("--name", required=True, help="name of the feature")
    parser.add_argument(
        "--scores",
        nargs="+",
        required=True,
        metavar="FILE",
        help="scores of each run and seed, from score",
    )
    options.add_runs(parser)
    options.add_bootstrap(parser)
    parser.add_argument(
        "--primary-detector",
        default="random_forest",
        help="the detector whose cross-attack cells get intervals, too",
    )
    parser.add_argument("--output", required=True, help="CSV file to write")
    parser.add_argument("--control", help=f"CSV file to write: those of the attack {UNCHANGED}")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate and write the metrics."""
    tables = []
    for label, files in group_by_run(arguments.scores, arguments.runs, "scores").items():
        features = score_files(files.paths)
        for feature, paths in features.items():
            if feature != arguments.name:
                path = next(iter(paths.values()))
                raise AdvdetectError(f"{path} has scores of {feature}, not of {arguments.name}.")
        tables.append(
            evaluate_feature(
                {seed: read_parts(path) for seed, path in features[arguments.name].items()},
                replicates=arguments.replicates,
                seed=arguments.bootstrap_seed,
                primary_detector=arguments.primary_detector,
                run=label,
            )
        )
    metrics = pd.concat(tables, ignore_index=True)
    metrics.insert(1, "feature", arguments.name)
    of_control = metrics["tested_on"] == UNCHANGED
    for path, rows in ((arguments.output, ~of_control), (arguments.control, of_control)):
        if path:
            with atomic_path(path) as temporary:
                metrics[rows].to_csv(temporary, index=False)
    report(f"evaluate {arguments.name}: {len(arguments.scores)} files, {len(metrics)} values")
