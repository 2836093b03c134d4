"""Take the nearest success of each image from the files of several attacks."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from advdetect import provenance
from advdetect.attacks.noise import noise_streams
from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.files.attack import (
    BEST_OF,
    NO_TARGET,
    ORIGINS,
    PASSES,
    AttackFile,
    AttackWriter,
    pieces,
)
from advdetect.inference import to_float
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.images import check_split, read_correct
from advdetect.steps.judging import distances, report_success

NORMS = ("l1", "l2", "linf")
#: In the provenance: for each image the position of its attack among ``attacks``, or this.
WON_BY, NOBODY = "won_by", -1
#: What the nearest image has of its own file. How far it is and the noise of its twin are computed
#: as of every attack.
_COPIED = (
    *("label", "target", "prediction", "success", "prediction_8bit", "success_8bit"),
    "crafted_success",
)
_SUMMED = ("iterations", *PASSES)
_ROWS = 1024  # images at a time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/attack/best_of.yaml")
    options.add_seed(parser)
    parser.add_argument("--name", required=True, help="name of the attack, for example best_of")
    parser.add_argument(
        "--parts",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files from attack, transfer or best-of, of the attacks that the specification names; "
        "of two that are as near the first counts",
    )
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument(
        "--clean", required=True, help="which of its images the model gets right, from classify"
    )
    parser.add_argument("--output", required=True, help="file to write: the adversarial images")


def run(arguments: argparse.Namespace) -> None:
    """Find the nearest successes and write them piece by piece.

    The parts were judged by the model from their files, and the bytes of the images stay the same,
    so nothing is judged again. An image that no attack has moved over the boundary is the clean
    one, as in the file of every minimal-norm attack.
    """
    device = prepare_torch("cpu", threads=1)
    spec = options.read_spec(arguments)
    data, index = read_split(arguments.test), read_correct(arguments.clean)
    parts = _read_parts(arguments, spec, data)
    facts = _describe(arguments, spec, parts, data) | {"device": device.type, "threads": 1}
    rows = np.stack([_rows_of(part, index.numpy()) for part in parts])
    won_by = nearest(_distances(parts, rows, index, data, spec["norm"]))
    facts[WON_BY] = won_by.tolist()

    columns = _columns(parts, rows, won_by, data.labels[index].numpy())
    writer = AttackWriter(arguments.output, len(index), data.images.shape[1:], facts)
    writer.remove_unfinished(keep_own=bool(arguments.code))
    for piece in pieces(writer.done(), _ROWS):
        chosen = slice(piece.start, piece.stop)
        clean = to_float(data.images[index[chosen]])
        images = clean.numpy().copy()
        for part, own, won in zip(parts, rows, range(len(parts)), strict=True):
            here = won_by[chosen] == won
            if here.any():
                images[here] = part.adversarial(own[chosen][here])
        stored = torch.from_numpy(writer.store(piece, images))
        streams = noise_streams(arguments.seed, arguments.name, index[chosen])
        moved = distances(stored, clean, streams)
        writer.finish_rows(
            piece,
            {
                "index": index[chosen].numpy(),
                **{name: values[chosen] for name, values in columns.items()},
                **{name: values.numpy() for name, values in moved.items()},
            },
        )
    found = writer.columns("success", "l2")
    writer.publish()
    report_success("best-of", arguments.name, arguments.seed, found)
    counts = [f"{part.name} {int((won_by == won).sum())}" for won, part in enumerate(parts)]
    report(f"best-of {arguments.name}: nearest of all were {', '.join(counts)}")


def nearest(distance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which of P attacks is nearest, the first of those that are as near.

    Args:
        distance: (P, N), infinite where an attack has no success.

    Returns:
        (N,) positions, `NOBODY` where none has a success.
    """
    return np.where(np.isfinite(distance).any(axis=0), distance.argmin(axis=0), NOBODY)


def _read_parts(
    arguments: argparse.Namespace, spec: Mapping[str, Any], data: ImageSplit
) -> list[AttackFile]:
    options.check_names(options.parameters(spec), ("attacks", "norm"), all_needed=True)
    if spec["norm"] not in NORMS:
        raise AdvdetectError(f"The norm must be one of {', '.join(NORMS)}, not {spec['norm']!r}.")
    parts = [AttackFile(path) for path in arguments.parts]
    names = [part.name for part in parts]
    if names != (wanted := spec["attacks"] or list(dict.fromkeys(names))):
        raise AdvdetectError(
            f"--parts must be one file of each of the attacks {', '.join(wanted)}, in this order, "
            f"not of {', '.join(names)}."
        )
    for part in parts:
        if (own := part.facts["seed"]) != arguments.seed:
            raise AdvdetectError(f"{part.path} is of seed {own}, not of seed {arguments.seed}.")
        check_split(part, data)
    return parts


def _describe(
    arguments: argparse.Namespace,
    spec: Mapping[str, Any],
    parts: Sequence[AttackFile],
    data: ImageSplit,
) -> dict[str, Any]:
    crafted_on = [part.facts["crafted_on"] for part in parts]
    origins = {name for part in parts for name in part.facts.get(ORIGINS, [part.name])}
    return provenance.describe(
        BEST_OF,
        spec,
        arguments.code,
        inputs={"parts": arguments.parts, "test": arguments.test, "clean": arguments.clean},
        outputs=[arguments.output],
        keyed={"name": arguments.name, "seed": arguments.seed},
        class_names=data.class_names,
        attacks=[part.name for part in parts],
        **{ORIGINS: sorted(origins)},
        crafted_on=crafted_on[0] if all(each == crafted_on[0] for each in crafted_on) else None,
        judged_on=parts[0].facts["judged_on"],
    )


def _rows_of(part: AttackFile, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the (N,) rows of images in a file, −1 where it lacks one.

    What was crafted on another model lacks images that this one gets wrong when clean.
    """
    own = part.column("index")
    order = own.argsort()
    place = np.searchsorted(own, index, sorter=order).clip(max=len(own) - 1)
    return np.where(own[order[place]] == index, order[place], -1)


def _distances(
    parts: Sequence[AttackFile],
    rows: NDArray[np.int64],
    index: torch.Tensor,
    data: ImageSplit,
    norm: str,
) -> NDArray[np.float64]:
    """Return how far the (P, N) successes are, infinite where there is none."""
    found = np.full(rows.shape, np.inf)
    for part, own, distance in zip(parts, rows, found, strict=True):
        (there,) = (own >= 0).nonzero()
        there = there[part.column("success")[own[there]]]
        if norm != "l1":
            distance[there] = part.column(norm)[own[there]]
            continue
        for start in range(0, len(there), _ROWS):  # in no column
            chosen = there[start : start + _ROWS]
            clean = to_float(data.images[index[chosen]]).double().numpy()
            moved = np.abs(part.adversarial(own[chosen]) - clean)
            distance[chosen] = moved.sum(axis=(1, 2, 3))
    return found


def _columns(
    parts: Sequence[AttackFile],
    rows: NDArray[np.int64],
    won_by: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> dict[str, NDArray]:
    """Return what is not of the images themselves: the winner's, and the sums over all attacks."""
    no = np.zeros(len(labels), np.bool_)
    columns: dict[str, NDArray] = {
        "label": labels,
        "target": np.full_like(labels, NO_TARGET),
        "iterations": np.zeros_like(labels),
        **{name: np.zeros(len(labels)) for name in PASSES},
        # A clean image is of 8 bits, and the model gets it right.
        **{f"prediction{suffix}": labels.copy() for suffix in ("", "_8bit")},
        **{name: no.copy() for name in ("success", "success_8bit", "crafted_success")},
    }
    for won, (part, own) in enumerate(zip(parts, rows, strict=True)):
        theirs = part.columns(*_COPIED, *_SUMMED)
        for name in _COPIED:
            columns[name][won_by == won] = theirs[name][own[won_by == won]]
        for name in _SUMMED:
            columns[name][own >= 0] += theirs[name][own[own >= 0]]
    return columns
