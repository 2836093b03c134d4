"""Prepare a split of a data set once: download or find it, cut the subset, write one file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advdetect import provenance
from advdetect.data.reading import with_images
from advdetect.data.split import checked_splits
from advdetect.data.store import write_split
from advdetect.data.subset import hold_out_validation, left_out, subset
from advdetect.errors import AdvdetectError, explain_failure
from advdetect.progress import report
from advdetect.protocol import TRAIN, UNUSED
from advdetect.steps import options

SUBSET_KEYS = ("count", "subset_seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/dataset/digits.yaml")
    parser.add_argument(
        "--split",
        required=True,
        choices=(TRAIN, UNUSED, "test"),
        help="which to write; unused: the training images that train_count leaves out",
    )
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
    parser.add_argument(
        "--source-files", default="", help="fingerprint of the folder of the data, if it is tracked"
    )
    parser.add_argument(
        "--threads",
        type=options.positive_integer,
        default=1,
        help="images that are read at once, where they are files (default 1)",
    )
    parser.add_argument("--output", required=True, help="file to write: the split")


def run(arguments: argparse.Namespace) -> None:
    """Load the data set and write the split."""
    name = arguments.split
    spec = split_spec(options.read_spec(arguments), name)
    root = spec.pop("root", None)  # where the data lies changes nothing that follows from it
    facts = provenance.describe(
        "prepare-data",
        spec,
        arguments.code,
        inputs={},
        outputs=[arguments.output],
        keyed={
            "split": name,
            "evaluate_on": arguments.evaluate_on,
            "source_files": arguments.source_files,
        },
    )
    source = {key: value for key, value in spec.items() if key not in SUBSET_KEYS}
    if arguments.root or root:
        source["root"] = arguments.root or root
    load, who = options.bind_target(source, "_target_"), f"The data set {spec['_target_']}"
    with explain_failure(who):
        loaded = load()
    splits = checked_splits(loaded, who)
    if arguments.evaluate_on == "validation":
        parts = hold_out_validation(splits["train"], spec["subset_seed"])
        splits = dict(zip(("train", "test"), parts, strict=True))
    if name == UNUSED:
        chosen = left_out(splits[TRAIN], spec["count"], spec["subset_seed"])
    else:
        chosen = subset(splits[name], spec["count"], spec["subset_seed"], name)
    if name == TRAIN and len(chosen.labels.unique()) == 1:
        raise AdvdetectError(
            "All training images are of one class: there is nothing to tell apart."
        )
    with explain_failure(who):
        read = with_images(chosen, arguments.threads, Path(arguments.output).parent)
    write_split(arguments.output, read, facts)
    report(f"prepare-data: {len(chosen)} {name} images in {arguments.output}")


def split_spec(spec: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what one split of a data set depends on: not the other's number of images.

    Args:
        spec: The data set, with ``train_count`` and ``test_count``, or of the workflow with the
            ``count`` of the split.
        name: ``train``, ``test``, or ``unused``, whose ``count`` is that of the training images.
    """
    counts = ("train_count", "test_count")
    counted = TRAIN if name == UNUSED else name
    own = {"count": spec[f"{counted}_count"]} if "count" not in spec else {}
    return {key: value for key, value in spec.items() if key not in counts} | own
