"""Fit every detector of one feature on every attack."""

import argparse
from collections.abc import Iterable

import numpy as np
import pandas as pd

from advdetect import provenance
from advdetect.detectors.fitting import fit_detectors, split_sources
from advdetect.files.detector import FittedDetector, write_detectors
from advdetect.io import write_table
from advdetect.progress import report
from advdetect.seeding import derive_seed
from advdetect.steps import detection

THRESHOLDS = ["detector", "trained_on", "left_out", "bits", "positives", "false_positive_rate"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    detection.add_arguments(parser)
    parser.add_argument(
        "--split", required=True, help="file to write: which source images are fitted on"
    )
    parser.add_argument(
        "--thresholds",
        required=True,
        help="file to write: thresholds at false positive rates among the images fitted on",
    )
    parser.add_argument("--output", required=True, help="file to write: the fitted detectors")


def run(arguments: argparse.Namespace) -> None:
    """Read the features, fit and write."""
    spec = detection.read_spec(arguments)
    facts = provenance.describe(
        "fit-detectors",
        spec,
        arguments.code,
        inputs={"features": arguments.features, "attacks": arguments.attacks},
        outputs=[arguments.output, arguments.split, arguments.thresholds],
        keyed={"name": arguments.name, "seed": arguments.seed},
    )
    bits = spec["bits"]
    inputs = detection.read_inputs(arguments.features, arguments.attacks, arguments.seed, bits)
    facts |= detection.tested(inputs)
    detectors = detection.make_detectors(spec, arguments.seed, arguments.name)
    index = np.asarray(inputs.clean.index)
    fitting, testing = split_sources(
        index, spec["train_fraction"], derive_seed(arguments.seed, "split")
    )
    thresholds: list[tuple] = []
    unfitted: dict[str, str] = {}
    with write_detectors(arguments.output, facts, detection.packages(spec)) as append:
        for fitted in fit_detectors(
            inputs.clean, inputs.attacks, detectors, fitting, inputs.control, bits
        ):
            append(fitted)
            thresholds += _threshold_rows(fitted)
            if fitted.reason:
                unfitted[f"{fitted.trained_on}, {fitted.bits}, {fitted.positives}"] = fitted.reason
    split = pd.DataFrame({"index": index, "fitting": np.isin(index, list(fitting))})
    write_table(arguments.split, split, facts)
    table = pd.DataFrame(thresholds, columns=[*THRESHOLDS, "threshold"])
    write_table(arguments.thresholds, table, facts)
    name = f"fit-detectors {arguments.name} seed {arguments.seed}"
    for training, reason in unfitted.items():
        report(f"{name}: warning: {reason} ({training}), so these cells have no values")
    report(
        f"{name}: {len(detectors)} detectors × {len(inputs.attacks)} attacks, {len(fitting)} "
        f"images to fit, {len(testing)} to test"
    )


def _threshold_rows(fitted: FittedDetector) -> Iterable[tuple]:
    key = (fitted.detector, fitted.trained_on, fitted.left_out)
    for (bits, rate), value in fitted.thresholds.items():
        yield (*key, bits, fitted.positives, rate, value)
