"""What fitting and scoring detectors have in common: options, and the files they read."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from advdetect.detectors.estimator import Detector
from advdetect.detectors.images import AttackedImages
from advdetect.errors import AdvdetectError
from advdetect.files.attack import ORIGINS
from advdetect.io import read_arrays, read_provenance, read_table
from advdetect.protocol import BITS, CLEAN, KINDS, UNCHANGED
from advdetect.seeding import derive_seed
from advdetect.steps import options


@dataclass(frozen=True)
class Inputs:
    """One feature of one run.

    Attributes:
        clean: Values for the clean images, indexed by source image.
        attacks: The attacks' images.
        control: Those of `protocol.UNCHANGED`, all of which count as successful; None without them.
    """

    clean: pd.DataFrame
    attacks: Mapping[str, AttackedImages]
    control: AttackedImages | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that both steps have."""
    options.add_spec(
        parser,
        "{detectors: [[name, config/detector/*.yaml], …], score: …, train_fraction: 0.5, "
        "bits: [float32, 8bit]}",
    )
    options.add_seed(parser)
    parser.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files from feature: of the clean images and of each attack's; several features are "
        "united",
    )
    parser.add_argument(
        "--attacks",
        nargs="+",
        required=True,
        metavar="FILE",
        help=f"files from attack; that of the attack {UNCHANGED} is the control",
    )
    parser.add_argument("--name", required=True, help="name of the feature, for random numbers")


def read_spec(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the specification of what is fitted and scored.

    Raises:
        AdvdetectError: A name in it is unknown or missing.
    """
    spec = options.read_spec(arguments)
    options.check_names(spec, ("detectors", "score", "train_fraction", "bits"), all_needed=True)
    return spec


def make_detectors(spec: Mapping[str, Any], seed: int, feature: str) -> dict[str, Detector]:
    """Return the detectors that a specification names, with their random numbers."""
    detectors = {}
    for name, detector in spec["detectors"]:
        extra = {"seed": derive_seed(seed, "detector", name, feature) % 2**32}
        if detector.get("_needs_score_"):
            if spec["score"] is None:  # a union has no single score to put a threshold on
                continue
            extra["score"] = spec["score"]
        detectors[name] = Detector(
            partial(options.bind_target(detector, "_target_", given=extra), **extra),
            sees_labels=detector.get("_sees_labels_", False),
            unsupervised=detector.get("_unsupervised_", False),
        )
    return detectors


def packages(spec: Mapping[str, Any]) -> list[str]:
    """Return the packages whose types a fitted detector may hold: those that its YAML names."""
    named = {
        name.replace("-", "_")
        for _, detector in spec["detectors"]
        for name in (detector["_target_"].partition(".")[0], *detector.get("_packages_", ()))
    }
    return sorted(named)


def read_inputs(
    features: Sequence[str], attacks: Sequence[str], seed: int, bits: Sequence[str]
) -> Inputs:
    """Read features and which attacks succeed, and check that they belong together.

    Args:
        features: Files of the clean images and of each attack's.
        attacks: Files of the attacks.
        seed: The run's seed.
        bits: Names in `protocol.BITS`, the forms of the images.

    Raises:
        AdvdetectError: An attack has features and no file or the other way round, two files are
            of the same attack, or a file is of another seed or of other images.
    """
    facts = {path: read_provenance(path) for path in (*features, *attacks)}
    tables = _read_features([(path, facts[path]["attack"]) for path in features], bits)
    for path, known in facts.items():
        if (own := known.get("seed", seed)) != seed:
            raise AdvdetectError(f"{path} is of seed {own}, not of seed {seed}.")
    if CLEAN not in tables:
        raise AdvdetectError("--features lacks the file of the clean images.")
    clean = tables.pop(CLEAN)[CLEAN]
    if not np.isfinite(clean.to_numpy()).all():
        raise AdvdetectError(
            "The feature has values of clean images that are infinite or not a number: no detector "
            "can be fitted on them; mend the feature."
        )
    names = {path: facts[path]["name"] for path in attacks}
    _check_attacks(names, tables)
    attacked = {
        name: AttackedImages(
            tables[name],
            _read_success(path, name, tables[name], bits),
            frozenset(facts[path].get(ORIGINS, ())),
        )
        for path, name in names.items()
    }
    control = attacked.pop(UNCHANGED, None)
    if control:
        control = replace(control, success=control.success | True)
    return Inputs(clean, attacked, control)


def tested(inputs: Inputs) -> dict[str, Any]:
    """Return what a file says of the attacks that its detectors meet."""
    return {"attacks": list(inputs.attacks), "control": inputs.control is not None}


def _check_attacks(names: Mapping[str, str], tables: Iterable[str]) -> None:
    for name in names.values():
        same = [path for path, other in names.items() if other == name]
        if len(same) > 1:
            raise AdvdetectError(f"--attacks: {' and '.join(same)} are both of the attack {name}.")
    for path, name in names.items():
        if name not in tables:
            raise AdvdetectError(f"--features lacks the files of the attack {name} ({path}).")
    for name in tables:
        if name not in names.values():
            raise AdvdetectError(f"--attacks lacks the file of the attack {name}.")


def _read_success(
    path: str, name: str, tables: Mapping[str, pd.DataFrame], bits: Sequence[str]
) -> pd.DataFrame:
    columns = {form: f"success{BITS[form]}" for form in bits}
    arrays = read_arrays(path, ["index", *columns.values()])
    success = pd.DataFrame(
        {form: arrays[column] for form, column in columns.items()}, index=arrays["index"]
    )
    if not all(table.index.isin(success.index).all() for table in tables.values()):
        raise AdvdetectError(
            f"--features has images of the attack {name} that {path} lacks: they are of another "
            "attack file; compute them again."
        )
    return success


def _read_features(
    files: Sequence[tuple[str, str]], bits: Sequence[str]
) -> dict[str, dict[str, pd.DataFrame]]:
    """Read features, several of an attack side by side.

    Args:
        files: Each with the attack (or ``clean``) that it is of.
        bits: The forms of the images.

    Returns:
        For each attack (or ``clean``) a table per kind, its rows indexed by source image.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for path, attack in files:
        tables.setdefault(attack, []).append(read_table(path).set_index(["kind", "index"]))
    joined = {attack: pd.concat(parts, axis=1, join="inner") for attack, parts in tables.items()}
    # An attack that changed no image has no values, and so no columns.
    columns = {attack: list(table.columns) for attack, table in joined.items() if len(table)}
    for attack, own in columns.items():
        if own != (first := next(iter(columns.values()))):
            raise AdvdetectError(
                f"--features: the files of {attack} have the columns {', '.join(own)}, others have "
                f"{', '.join(first)}."
            )
    return {
        attack: _by_kind(table.reindex(columns=next(iter(columns.values()))), attack, bits)
        for attack, table in joined.items()
    }


def _by_kind(table: pd.DataFrame, attack: str, bits: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the rows of each kind of image, none of those that there are none of."""
    kinds = [f"{kind}{BITS[form]}" for kind in KINDS if kind != CLEAN for form in bits]
    of = table.index.get_level_values("kind")
    return {
        kind: table[of == kind].droplevel("kind")
        for kind in ([CLEAN] if attack == CLEAN else kinds)
    }
