"""Prepare a data set once: download or find it, cut the subset, one file per split."""

import argparse

from advdetect import provenance
from advdetect.data.store import write_split
from advdetect.data.subset import hold_out_validation, subset
from advdetect.progress import report
from advdetect.steps import options

SUBSET_KEYS = ("train_count", "test_count", "subset_seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/dataset/digits.yaml")
    parser.add_argument(
        "--root", help="folder of the data, in place of the specification's; not in the provenance"
    )
    parser.add_argument(
        "--evaluate-on",
        choices=("test", "validation"),
        default="test",
        help="what is written as the test split: the data set's own (default), or a sixth of the "
        "training images, which are then no longer among those written for training",
    )
    parser.add_argument("--train", required=True, help="file to write: the training split")
    parser.add_argument("--test", required=True, help="file to write: the test split")


def run(arguments: argparse.Namespace) -> None:
    """Load the data set and write both splits."""
    spec = options.read_spec(arguments)
    root = spec.pop("root", None)  # where the data lies changes nothing that follows from it
    source = {key: value for key, value in spec.items() if key not in SUBSET_KEYS}
    if arguments.root or root:
        source["root"] = arguments.root or root
    splits = options.bind_target(source, "_target_")()
    if arguments.evaluate_on == "validation":
        parts = hold_out_validation(splits["train"], spec["subset_seed"])
        splits = dict(zip(("train", "test"), parts, strict=True))
    paths = {"train": arguments.train, "test": arguments.test}
    chosen = {
        name: subset(splits[name], spec[f"{name}_count"], spec["subset_seed"], name)
        for name in paths
    }
    for name, split in chosen.items():
        facts = provenance.describe(
            "prepare-data", spec, arguments.code, split=name, evaluate_on=arguments.evaluate_on
        )
        write_split(paths[name], split, facts)
        report(f"prepare-data: {len(split)} {name} images in {paths[name]}")
