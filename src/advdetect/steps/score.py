"""Score the images of all attacks with fitted detectors."""

import argparse
from typing import Any

from advdetect import provenance
from advdetect.detectors.scoring import score_attacks
from advdetect.errors import AdvdetectError
from advdetect.files.detector import read_detectors
from advdetect.files.scores import write_scores
from advdetect.io import read_provenance, read_table
from advdetect.progress import report
from advdetect.steps import detection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    detection.add_arguments(parser)
    parser.add_argument("--detectors", required=True, help="fitted ones, from fit-detectors")
    parser.add_argument("--split", required=True, help="the split, from fit-detectors")
    parser.add_argument("--output", required=True, help="file to write: the scores")


def run(arguments: argparse.Namespace) -> None:
    """Read the features and the detectors, score and write."""
    spec = detection.read_spec(arguments)
    roles = ("detectors", "split", "features", "attacks")
    facts = provenance.describe(
        "score",
        spec,
        arguments.code,
        inputs={role: getattr(arguments, role) for role in roles},
        outputs=[arguments.output],
        keyed={"name": arguments.name, "seed": arguments.seed},
    )
    bits = spec["bits"]
    inputs = detection.read_inputs(arguments.features, arguments.attacks, arguments.seed, bits)
    facts |= detection.tested(inputs)
    own = {name: facts[name] for name in ("name", "spec", "attacks", "control")}
    for path in (arguments.detectors, arguments.split):
        _check(path, own)
    detectors = detection.make_detectors(spec, arguments.seed, arguments.name)
    split = read_table(arguments.split, ["index", "fitting"])
    testing = set(split.loc[~split["fitting"], "index"].tolist())
    fitted = read_detectors(arguments.detectors, detection.packages(spec))
    count = 0
    parts = score_attacks(
        inputs.clean, inputs.attacks, detectors, fitted, testing, inputs.control, bits
    )
    with write_scores(arguments.output, facts) as append:
        for part in parts:
            append(part)
            count += len(part.index)
    report(f"score {arguments.name} seed {arguments.seed}: {count} scores")


def _check(path: str, expected: dict[str, Any]) -> None:
    """Check that a file of fit-detectors belongs to the other inputs.

    Raises:
        AdvdetectError: It was made for something else.
    """
    facts = read_provenance(path)
    for fact, value in expected.items():
        if facts.get(fact) != value:
            shown = "" if fact == "spec" else f": it has {facts.get(fact)}, here it is {value}"
            raise AdvdetectError(f"{path} is of another {fact}{shown}. Run fit-detectors again.")
