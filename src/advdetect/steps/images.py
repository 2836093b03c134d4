"""The images of each kind that features are computed of: clean, noisy and adversarial.

They are read, or drawn, when they are needed, some rows at a time.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from advdetect.attacks.noise import noise_streams, noisy_twins
from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.errors import AdvdetectError
from advdetect.files.attack import AttackFile
from advdetect.inference import round_to_8_bits, to_float
from advdetect.io import read_arrays
from advdetect.protocol import BITS, CLEAN, UNCHANGED
from advdetect.steps import options


@dataclass(frozen=True)
class Kind:
    """The images of one kind.

    Attributes:
        index: (N,) their positions in the data split.
        images: Maps a slice of range(N) to those images: (n, C, H, W) float32 in [0, 1], on the
            CPU, a new tensor each time.
    """

    index: Tensor
    images: Callable[[slice], Tensor]


def add_bits(parser: argparse.ArgumentParser) -> None:
    """Add ``--bits``."""
    parser.add_argument(
        "--bits",
        type=_bits,
        default=list(BITS),
        metavar="JSON",
        help="the forms of an attack's images: as they are, float32, and rounded to 8 bits, 8bit "
        "(default both)",
    )


def images_to_test(
    path: str, clean: str, attack: str | None, bits: Iterable[str]
) -> tuple[str, dict[str, Kind]]:
    """Return the images of each kind of an attack, or the clean ones that the model gets right.

    Args:
        path: The test split.
        clean: Which of its images the model gets right, from classify.
        attack: The attack's file, if any.
        bits: As of `changed_images`.

    Returns:
        The attack's name or `CLEAN`, and the images by kind.
    """
    data = read_split(path)
    if not attack:
        return CLEAN, {CLEAN: split_images(data, read_correct(clean))}
    file = AttackFile(attack)
    if file.name == UNCHANGED:
        return file.name, unchanged_images(file, data)
    return file.name, changed_images(file, data, bits)


def read_correct(path: str) -> Tensor:
    """Return the (n,) positions of the images that the model gets right, from classify."""
    return torch.from_numpy(read_arrays(path, ["index"])["index"])


def split_images(data: ImageSplit, index: Tensor) -> Kind:
    """Return some images of a split as they are."""
    return Kind(index, lambda rows: to_float(data.images[index[rows]]))


def changed_images(
    attack: AttackFile, data: ImageSplit, bits: Iterable[str] = tuple(BITS)
) -> dict[str, Kind]:
    """Return an attack's noisy and adversarial images, as they are and rounded to 8 bits.

    An image that the attack left as it was, as a minimal-norm attack does where it fails, is the
    clean image again and so is its noisy twin: neither is one of these kinds. An attack may have
    changed none: then these kinds are empty.

    Args:
        attack: The attack's file.
        data: The split that it attacks; the noisy images are drawn from its images.
        bits: Names in `protocol.BITS`, the forms that are wanted.

    Raises:
        AdvdetectError: Its images are not of this split.
    """
    check_split(attack, data)
    kinds = {}
    for suffix in (BITS[form] for form in bits):
        changed = torch.from_numpy(attack.column(f"changed{suffix}")).nonzero().flatten()
        index = torch.from_numpy(attack.column("index"))[changed]
        for name, images in (
            ("noisy", _noisy(attack, data, changed)),
            ("adversarial", _adversarial(attack, changed)),
        ):
            # A copy each: a file cannot hold one tensor under two names.
            kinds[f"{name}{suffix}"] = Kind(index.clone(), _rounded(images) if suffix else images)
    return kinds


def unchanged_images(attack: AttackFile, data: ImageSplit) -> dict[str, Kind]:
    """Return the clean images as the file of the control gives them back, as adversarial ones.

    Args:
        attack: The file of the attack that changes nothing.
        data: The split that its images are of.

    Raises:
        AdvdetectError: An image is changed, or is not of this split.
    """
    check_split(attack, data)
    changed = attack.columns("changed", "changed_8bit")
    if any(column.any() for column in changed.values()):
        raise AdvdetectError(
            f"{attack.path}: an attack called {UNCHANGED} must leave every image as it is."
        )
    index = torch.from_numpy(attack.column("index"))
    return {"adversarial": Kind(index, _adversarial(attack, torch.arange(len(index))))}


def check_split(attack: AttackFile, data: ImageSplit) -> None:
    """Check that an attack's images are of a split.

    Raises:
        AdvdetectError: Their shape, their positions or their classes say otherwise.
    """
    index, label = (torch.from_numpy(attack.column(name)) for name in ("index", "label"))
    if (
        attack.image_shape != tuple(data.images.shape[1:])
        or bool((index >= len(data)).any())
        or not torch.equal(data.labels[index], label)
    ):
        raise AdvdetectError(
            f"{attack.path} was not made of the images of this data split: give the one that it "
            f"was made of."
        )


def adversarial_images(attack: AttackFile, rows: Tensor) -> Tensor:
    """Return the adversarial images of some rows of an attack's file."""
    return torch.from_numpy(attack.adversarial(rows.numpy()))


def _adversarial(attack: AttackFile, chosen: Tensor) -> Callable[[slice], Tensor]:
    return lambda rows: adversarial_images(attack, chosen[rows])


def _noisy(attack: AttackFile, data: ImageSplit, chosen: Tensor) -> Callable[[slice], Tensor]:
    index, scale = (
        torch.from_numpy(attack.column(name))[chosen] for name in ("index", "noise_scale")
    )

    def images(rows: slice) -> Tensor:
        streams = noise_streams(attack.facts["seed"], attack.name, index[rows])
        return noisy_twins(to_float(data.images[index[rows]]), scale[rows], streams)

    return images


def _rounded(images: Callable[[slice], Tensor]) -> Callable[[slice], Tensor]:
    return lambda rows: round_to_8_bits(images(rows))


def _bits(text: str) -> list[str]:
    """Read a JSON list of forms of images from the command line."""
    value = options.json_value(text)
    if not isinstance(value, list) or not value or not all(form in [*BITS] for form in value):
        raise argparse.ArgumentTypeError(f"{text} is no JSON list of {', '.join(BITS)}")
    return value
