"""Fit every detector on every attack's features and score all attacks."""

import argparse
from collections.abc import Sequence
from functools import partial

import joblib
import numpy as np
import pandas as pd

from advdetect import provenance
from advdetect.detectors.detection import (
    AttackedImages,
    Detector,
    cross_attack_scores,
    split_sources,
)
from advdetect.errors import AdvdetectError
from advdetect.io import read_arrays, read_provenance, read_table, write_table
from advdetect.progress import report
from advdetect.protocol import BITS, CLEAN
from advdetect.seeding import derive_seed
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(
        parser,
        "{detectors: [[name, config/detector/*.yaml], …], score: …, train_fraction: 0.5}",
    )
    options.add_seed(parser)
    parser.add_argument(
        "--threads", type=options.positive_integer, default=1, help="CPU threads (default 1)"
    )
    parser.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files from feature: of the clean images and of each attack's; several features are "
        "united",
    )
    parser.add_argument(
        "--attacks", nargs="+", required=True, metavar="FILE", help="files from attack"
    )
    parser.add_argument("--name", required=True, help="name of the feature, for random numbers")
    parser.add_argument("--output", required=True, help="file to write: the scores")


def run(arguments: argparse.Namespace) -> None:
    """Read the features, fit, score and write."""
    spec = options.read_spec(arguments)
    features = _read_features(arguments.features)
    if CLEAN not in features:
        raise AdvdetectError("--features lacks the file of the clean images.")
    clean = features[CLEAN]["clean"]
    attacks = {}
    for path in arguments.attacks:
        name = read_provenance(path)["name"]
        if name not in features:
            raise AdvdetectError(f"--features lacks the files of the attack {name} ({path}).")
        arrays = read_arrays(path, ["index", "success", "success_8bit"])
        success = pd.DataFrame(
            {bits: arrays[f"success{suffix}"] for bits, suffix in BITS.items()},
            index=arrays["index"],
        )
        attacks[name] = AttackedImages(features[name], success)

    fitting, testing = split_sources(
        np.asarray(clean.index), spec["train_fraction"], derive_seed(arguments.seed, "split")
    )
    detectors = {}
    for name, detector in spec["detectors"]:
        extra = {"seed": derive_seed(arguments.seed, "detector", name, arguments.name) % 2**32}
        if detector.get("_needs_score_"):
            if spec["score"] is None:  # a union has no single score to put a threshold on
                continue
            extra["score"] = spec["score"]
        detectors[name] = Detector(
            partial(options.bind_target(detector, "_target_", given=extra), **extra),
            sees_labels=detector.get("_sees_labels_", False),
            unsupervised=detector.get("_unsupervised_", False),
        )
    with joblib.parallel_config(backend="threading", n_jobs=arguments.threads):
        scores = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    facts = provenance.describe(
        "detect", spec, arguments.code, name=arguments.name, seed=arguments.seed
    )
    write_table(arguments.output, scores, facts)
    unfitted = scores.loc[scores["score"].isna(), "trained_on"].unique()
    if len(unfitted):
        report(
            f"detect {arguments.name} seed {arguments.seed}: warning: no image of "
            f"{', '.join(unfitted)} that is rounded to 8 bits fools the model in the part to fit "
            "on, so the cells of detectors trained on such images have no values"
        )
    report(
        f"detect {arguments.name} seed {arguments.seed}: {len(detectors)} detectors × "
        f"{len(attacks)} attacks, {len(fitting)} images to fit, {len(testing)} to test"
    )


def _read_features(paths: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """Read features, several of an attack side by side.

    Returns:
        For each attack (or ``clean``) a table per kind, its rows indexed by source image.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for path in paths:
        table = read_table(path).set_index(["kind", "index"])
        tables.setdefault(read_provenance(path)["attack"], []).append(table)
    joined = {attack: pd.concat(parts, axis=1, join="inner") for attack, parts in tables.items()}
    return {
        attack: {str(kind): rows.droplevel("kind") for kind, rows in table.groupby("kind")}
        for attack, table in joined.items()
    }
