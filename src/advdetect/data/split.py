"""A data split: its images, its labels and the names of its classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError


@dataclass(frozen=True)
class ImageSplit:
    """N labelled images.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 in [0, len(class_names)).
        class_names: One name per class.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)


def checked_splits(found: Any, who: str) -> dict[str, ImageSplit]:
    """Return what the loader of a data set returned, if it is sound.

    Args:
        found: What it returned: ``{"train": …, "test": …}``, perhaps without images in one of them.
        who: Whose it is, as the error begins.

    Raises:
        AdvdetectError: It is not that, or the splits have other classes or images of another shape.
    """
    if not isinstance(found, Mapping) or not {"train", "test"} <= found.keys():
        what = f"a dict of {', '.join(map(str, found))}" if isinstance(found, Mapping) else ""
        raise AdvdetectError(
            f"{who} returned {what or type(found).__name__}: it must return a dict of an "
            f"ImageSplit by 'train' and 'test'."
        )
    for name in ("train", "test"):
        if problem := _problem(found[name]):
            raise AdvdetectError(f"{who}: the {name} split {problem}.")
    train, test = found["train"], found["test"]
    for what, of in (("classes", lambda split: split.class_names), ("shape of images", _shape)):
        if of(train) != of(test):
            raise AdvdetectError(
                f"{who}: the splits differ in their {what}: {of(train)} for training, {of(test)} "
                f"for testing."
            )
    return {"train": train, "test": test}


def _shape(split: ImageSplit) -> tuple[int, ...]:
    return tuple(split.images.shape[1:])


def _problem(split: Any) -> str:
    """Say what is wrong with a split; nothing if it is sound."""
    if not isinstance(split, ImageSplit):
        return f"is a {type(split).__name__}, not an ImageSplit"
    images, labels, classes = split.images, split.labels, split.class_names
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
        found = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else "others"
        return f"must have (N, C, H, W) uint8 images, 0 to 255; they are {found}"
    if not isinstance(labels, Tensor) or (labels.dtype, labels.shape) != (
        torch.int64,
        images.shape[:1],
    ):
        return f"must have one int64 label for each of its {len(images)} images"
    if not isinstance(classes, tuple) or len(set(classes)) != len(classes):
        return "must have a tuple of class names, none of them twice"
    if not all(isinstance(name, str) for name in classes):
        return "must have class names that are texts"
    if len(classes) < 2:
        return f"has {len(classes) or 'no'} class: there is nothing to tell apart"
    if not len(images):
        return "has no images"
    if 0 in images.shape:
        return f"has images of shape {_shape(split)}"
    if labels.min() < 0 or labels.max() >= len(classes):
        return (
            f"has labels from {labels.min()} to {labels.max()}; of {len(classes)} classes they go "
            f"from 0 to {len(classes) - 1}"
        )
    return ""
