"""Paired tests between all features, over seeds and images."""

import argparse

import pandas as pd

from advdetect.evaluation.inputs import score_files
from advdetect.evaluation.paired import paired_tests
from advdetect.files.atomic import atomic_path
from advdetect.files.scores import read_own_scores
from advdetect.progress import report
from advdetect.runs import group_by_run
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument(
        "--scores",
        nargs="+",
        required=True,
        metavar="FILE",
        help="scores of each feature and seed, from score",
    )
    options.add_runs(parser)
    options.add_bootstrap(parser)
    parser.add_argument(
        "--primary-detector", default="random_forest", help="the detector that is compared"
    )
    parser.add_argument("--output", required=True, help="CSV file to write")


def run(arguments: argparse.Namespace) -> None:
    """Test every pair of features of each run and write the tests."""
    tables = []
    for label, files in group_by_run(arguments.scores, arguments.runs, "scores").items():
        scores = {
            feature: {
                seed: read_own_scores(path, arguments.primary_detector)
                for seed, path in paths.items()
            }
            for feature, paths in score_files(files.paths).items()
        }
        tables.append(
            paired_tests(
                scores,
                replicates=arguments.replicates,
                seed=arguments.bootstrap_seed,
                run=label,
            )
        )
    tests = pd.concat(tables, ignore_index=True)
    with atomic_path(arguments.output) as temporary:
        tests.to_csv(temporary, index=False)
    report(f"paired: {len(arguments.scores)} files, {len(tests)} paired tests")
