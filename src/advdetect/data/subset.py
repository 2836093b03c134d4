"""Stratified subsets of a split, and a validation split cut from the training images."""

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError

VALIDATION_SHARE = (
    6  # one training image in so many; of MNIST's 60,000 as many as it has for testing
)


def hold_out_validation(train: ImageSplit, seed: int) -> tuple[ImageSplit, ImageSplit]:
    """Divide a training split into what remains of it and a validation split, a sixth of it.

    Stratified and at random, each part kept in the order of the split.

    Args:
        train: The whole training split.
        seed: Seed of the draw.

    Returns:
        The training images that remain, and the validation images.

    Raises:
        AdvdetectError: A sixth of the images is fewer than there are classes.
    """
    count = len(train) // VALIDATION_SHARE
    if count < len(train.class_names):
        raise AdvdetectError(
            f"evaluate_on=validation holds out a sixth of the training images, here {count} of "
            f"{len(train)}, which is below the number of classes ({len(train.class_names)}): use "
            "more training images, or evaluate_on=test."
        )
    parts = train_test_split(
        np.arange(len(train)), test_size=count, stratify=train.labels.numpy(), random_state=seed
    )
    remaining, held_out = (_take(train, rows) for rows in parts)
    return remaining, held_out


def subset(split: ImageSplit, count: int | None, seed: int, name: str) -> ImageSplit:
    """Draw a stratified random subset, kept in the order of the split.

    Args:
        split: The whole split.
        count: Number of images to keep, or None for all of them.
        seed: Seed of the draw.
        name: The split's name, for the error.

    Raises:
        AdvdetectError: The split has fewer images, or ``count`` is below the number of classes.
    """
    if count is None or count == len(split):
        return split
    if count > len(split):
        raise AdvdetectError(
            f"dataset.{name}_count={count}, but the {name} split has only {len(split)} images: "
            f"ask for at most {len(split)}, or for null to take them all."
        )
    if count < len(split.class_names):
        raise AdvdetectError(
            f"dataset.{name}_count={count} is below the number of classes "
            f"({len(split.class_names)}): ask for at least one image per class."
        )
    rows = np.arange(len(split))
    chosen, _ = train_test_split(
        rows, train_size=count, stratify=split.labels.numpy(), random_state=seed
    )
    return _take(split, chosen)


def _take(split: ImageSplit, rows: np.ndarray) -> ImageSplit:
    chosen = torch.from_numpy(np.sort(rows))
    return ImageSplit(split.images[chosen], split.labels[chosen], split.class_names)
