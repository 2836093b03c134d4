"""Paired tests between all features, over seeds and images."""

import argparse

import pandas as pd

from advdetect.evaluation.paired import own_attack_scores, paired_tests
from advdetect.io import atomic_path, read_provenance, read_table
from advdetect.progress import report
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument(
        "--scores",
        nargs="+",
        required=True,
        metavar="FILE",
        help="scores of each feature and seed, from detect",
    )
    options.add_bootstrap(parser)
    parser.add_argument(
        "--primary-detector", default="random_forest", help="the detector that is compared"
    )
    parser.add_argument("--output", required=True, help="CSV file to write")


def run(arguments: argparse.Namespace) -> None:
    """Test every pair of features and write the tests."""
    features: dict[str, dict[int, pd.DataFrame]] = {}
    for path in arguments.scores:
        facts = read_provenance(path)
        # One file at a time: all scores of an experiment may be more than fits into memory.
        chosen = own_attack_scores(read_table(path), arguments.primary_detector)
        features.setdefault(facts["name"], {})[facts["seed"]] = chosen
    tests = paired_tests(features, replicates=arguments.replicates, seed=arguments.bootstrap_seed)
    with atomic_path(arguments.output) as temporary:
        tests.to_csv(temporary, index=False)
    report(f"paired: {len(features)} features, {len(tests)} paired tests")
