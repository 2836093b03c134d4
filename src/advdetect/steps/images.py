"""The images of each kind that features are computed of: clean, noisy and adversarial."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.errors import AdvdetectError
from advdetect.inference import clean_correct, round_to_8_bits, to_float
from advdetect.io import read_tensors
from advdetect.protocol import CLEAN, HELD_OUT

#: Images of one kind: their (N,) positions in the data split, and (N, C, H, W).
Kind = tuple[Tensor, Tensor]


def clean_images(data: ImageSplit, model: nn.Module, device: torch.device) -> dict[str, Kind]:
    """Return the images of a test split that the model classifies correctly."""
    index = clean_correct(model, data, device)
    return {CLEAN: (index, to_float(data.images[index]))}


def held_out_images(path: str, index: Tensor) -> dict[str, Kind]:
    """Return some images of a training split: those that an auxiliary model was not fitted on."""
    data = read_split(path)
    return {HELD_OUT: (index, to_float(data.images[index]))}


def read_attack(path: str) -> tuple[str, dict[str, Tensor]]:
    """Return an attack's name and what its file holds.

    Raises:
        AdvdetectError: It is another stage's file.
    """
    tensors, facts = read_tensors(path)
    if facts.get("step") != "attack":
        raise AdvdetectError(f"{path} is no file of an attack: make one with that stage.")
    return facts["name"], tensors


def changed_images(attack: str, tensors: Mapping[str, Tensor]) -> dict[str, Kind]:
    """Return an attack's noisy and adversarial images, as they are and rounded to 8 bits.

    An image that the attack left as it was, as a minimal-norm attack does where it fails, is the
    clean image again and so is its noisy twin: neither is one of these kinds.

    Args:
        attack: The attack's name.
        tensors: What its file holds.

    Raises:
        AdvdetectError: The attack changed no image.
    """
    kinds = {}
    for suffix in ("", "_8bit"):
        changed = tensors[f"changed{suffix}"]
        if not changed.any():
            raise AdvdetectError(
                f"The attack {attack} changed no image{' after rounding' if suffix else ''}, so "
                f"there is nothing to detect: make it stronger or remove it."
            )
        for kind in ("noisy", "adversarial"):
            images = tensors[kind][changed]
            kinds[f"{kind}{suffix}"] = (
                tensors["index"][changed],
                round_to_8_bits(images) if suffix else images,
            )
    return kinds
