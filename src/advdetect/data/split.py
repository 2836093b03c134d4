"""A data split: its images, its labels and the names of its classes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
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

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image."""
        return tuple(self.images.shape[1:])

    def take(self, rows: Tensor) -> "ImageSplit":
        """Return some of the images, by their (M,) rows."""
        return replace(self, images=self.images[rows], labels=self.labels[rows])


@dataclass(frozen=True)
class UnreadSplit:
    """N labelled images that are read when they are wanted (`advdetect.data.reading`).

    Attributes:
        sources: One for each image, the path of its file for example.
        labels: (N,) int64 in [0, len(class_names)).
        class_names: One name per class.
        shape: (C, H, W) of an image.
        read: Returns the (C, H, W) uint8 image of a source; called from several threads at once.
    """

    sources: Sequence[Any]
    labels: Tensor
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    read: Callable[[Any], np.ndarray]

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows: Tensor) -> "UnreadSplit":
        """Return some of the images, by their (M,) rows; none is read."""
        chosen = [self.sources[row] for row in rows.tolist()]
        return replace(self, sources=chosen, labels=self.labels[rows])


Split = ImageSplit | UnreadSplit


def checked_splits(found: Any, who: str) -> dict[str, Split]:
    """Return what the loader of a data set returned, if it is sound.

    Args:
        found: What it returned: ``{"train": …, "test": …}``, perhaps without images for training.
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
        if problem := _problem(found[name], may_be_empty=name == "train"):
            raise AdvdetectError(f"{who}: the {name} split {problem}.")
    train, test = found["train"], found["test"]
    for what, of in (
        ("classes", lambda split: split.class_names),
        ("shape of images", lambda split: split.shape),
    ):
        if of(train) != of(test):
            raise AdvdetectError(
                f"{who}: the splits differ in their {what}: {of(train)} for training, {of(test)} "
                f"for testing."
            )
    return {"train": train, "test": test}


def _problem(split: Any, may_be_empty: bool) -> str:
    """Say what is wrong with a split; nothing if it is sound."""
    if isinstance(split, ImageSplit):
        images = split.images
        if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim != 4:
            is_tensor = isinstance(images, Tensor)
            found = f"{images.dtype} {tuple(images.shape)}" if is_tensor else "others"
            return f"must have (N, C, H, W) uint8 images, 0 to 255; they are {found}"
    elif not isinstance(split, UnreadSplit):
        return f"is a {type(split).__name__}, not an ImageSplit"
    labels, classes = split.labels, split.class_names
    if not isinstance(labels, Tensor) or (labels.dtype, labels.shape) != (
        torch.int64,
        (len(split),),
    ):
        return f"must have one int64 label for each of its {len(split)} images"
    if not isinstance(classes, tuple) or len(set(classes)) != len(classes):
        return "must have a tuple of class names, none of them twice"
    if not all(isinstance(name, str) for name in classes):
        return "must have class names that are texts"
    if len(classes) < 2:
        return f"has {len(classes) or 'no'} class: there is nothing to tell apart"
    if 0 in split.shape:
        return f"has images of shape {split.shape}"
    if not len(split):
        return "" if may_be_empty else "has no images"
    if labels.min() < 0 or labels.max() >= len(classes):
        return (
            f"has labels from {labels.min()} to {labels.max()}; of {len(classes)} classes they go "
            f"from 0 to {len(classes) - 1}"
        )
    return ""
