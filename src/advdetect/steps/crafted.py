"""Adversarial images that exist already: an attack's on another model, or a user's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError
from advdetect.files.attack import FIELDS, NO_TARGET, PASSES, AttackFile
from advdetect.inference import to_float
from advdetect.io import read_arrays, read_npz, read_rows, read_shapes
from advdetect.many_classes import CHOSEN
from advdetect.steps.images import adversarial_images, check_split


@dataclass(frozen=True)
class Crafted:
    """N adversarial images and what is known of their making.

    Attributes:
        index: (N,) positions of the clean images in the split.
        images: Maps (n,) rows to those images: (n, C, H, W) float32 in [0, 1].
        success: (N,) bool, whether they fool the model that they were crafted on; true where there
            is none.
        target: (N,) int64.
        iterations: (N,) int64.
        passes: The columns of passes through that model, (N,) float64 each; NaN where they are not
            known.
        spec: The attack's specification.
        chosen: What its settings were for many classes, see `advdetect.many_classes`.
        model: What tells the model that they were crafted on, None where that is not known.
    """

    index: Tensor
    images: Callable[[Tensor], Tensor]
    success: Tensor
    target: Tensor
    iterations: Tensor
    passes: Mapping[str, Tensor]
    spec: Mapping[str, Any]
    chosen: Mapping[str, Any]
    model: Mapping[str, Any] | None


def read_crafted(path: str, data: ImageSplit) -> Crafted:
    """Read an attack's file or a user's images, and check that they are of a split.

    Args:
        path: ``.npz`` or safetensors.
        data: The split.

    Raises:
        AdvdetectError: The file is unreadable, lacks an array, or an array is not what it must be;
            pixels are checked when they are read.
    """
    if Path(path).suffix == ".npz":
        arrays = read_npz(path)
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        return _own(path, data, shapes, arrays.get, lambda rows: arrays["adversarial"][rows])
    shapes = {name: shape for name, (_, shape) in read_shapes(path).items()}
    if len(FIELDS.keys() & shapes.keys()) > 2:  # more than a user's own, if not all
        return _of_attack(path, data)
    return _own(
        path,
        data,
        shapes,
        lambda name: read_arrays(path, [name])[name],
        lambda rows: read_rows(path, "adversarial", rows),
    )


def _of_attack(path: str, data: ImageSplit) -> Crafted:
    attack = AttackFile(path)
    check_split(attack, data)
    names = ("index", "success", "target", "iterations", *PASSES)
    columns = {name: torch.from_numpy(values) for name, values in attack.columns(*names).items()}
    return Crafted(
        images=lambda rows: adversarial_images(attack, rows),
        spec=attack.facts["spec"],
        chosen=attack.facts.get(CHOSEN, {}),
        model=attack.facts["crafted_on"],
        passes={name: columns.pop(name) for name in PASSES},
        **columns,
    )


def _own(
    path: str,
    data: ImageSplit,
    shapes: Mapping[str, list[int]],
    array: Callable[[str], Any],
    pixels: Callable[[NDArray], NDArray],
) -> Crafted:
    for name in ("adversarial", "index"):
        if name not in shapes:
            raise AdvdetectError(
                f"{path} has no array '{name}': it must hold adversarial (N, C, H, W) and index "
                f"(N,); it holds {', '.join(sorted(shapes)) or 'nothing'}."
            )
    wanted, found = tuple(data.images.shape[1:]), tuple(shapes["adversarial"])
    if len(found) != 4 or found[1:] != wanted:
        raise AdvdetectError(
            f"{path}: adversarial is of shape {found}; the images of this split are {wanted}, so "
            f"it must be (N, {', '.join(map(str, wanted))})."
        )
    count = found[0]
    zeros = torch.zeros(count, dtype=torch.int64)
    unknown = torch.full((count,), torch.nan, dtype=torch.float64)
    return Crafted(
        index=_checked_index(path, array("index"), count, len(data)),
        images=lambda rows: _checked_pixels(path, pixels(rows.numpy())),
        success=torch.ones(count, dtype=torch.bool),
        target=torch.full_like(zeros, NO_TARGET),
        iterations=zeros,
        passes=dict.fromkeys(PASSES, unknown),
        spec={},
        chosen={},
        model=None,
    )


def _checked_index(path: str, index: NDArray, count: int, images: int) -> Tensor:
    if not np.issubdtype(index.dtype, np.integer) or index.shape != (count,):
        problem = f"is {index.dtype} {index.shape}, not one whole number for each of {count} images"
    elif count and not (index.min() >= 0 and index.max() < images):
        problem = f"goes from {index.min()} to {index.max()}, but the split has {images} images"
    elif len(np.unique(index)) < count:
        problem = "names an image twice"
    else:
        return torch.from_numpy(index.astype(np.int64))
    raise AdvdetectError(
        f"{path}: index {problem}: it must hold the positions in the test split, from 0, once each."
    )


def _checked_pixels(path: str, pixels: NDArray) -> Tensor:
    if pixels.dtype == np.uint8:
        return to_float(torch.from_numpy(pixels))
    if not np.issubdtype(pixels.dtype, np.floating):
        raise AdvdetectError(
            f"{path}: adversarial is {pixels.dtype}; it must be uint8, or float in [0, 1]."
        )
    if not ((pixels >= 0) & (pixels <= 1)).all():
        raise AdvdetectError(
            f"{path}: adversarial has pixels outside [0, 1] or not a number; divide by 255 what is "
            f"in [0, 255], or give it as uint8."
        )
    return torch.from_numpy(pixels.astype(np.float32))
