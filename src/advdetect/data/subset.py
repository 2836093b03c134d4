"""Stratified subsets of a split, and a validation split cut from the training images."""

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils import resample

from advdetect.data.split import Split
from advdetect.requirements.subsets import check_left_out, subset_count, validation_count


def hold_out_validation(train: Split, seed: int) -> tuple[Split, Split]:
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
    count = validation_count(len(train), len(train.class_names))
    remaining, held_out = _divided(train.labels.numpy(), len(train) - count, seed)
    return _take(train, remaining), _take(train, held_out)


def subset(split: Split, count: int | None, seed: int, name: str) -> Split:
    """Draw a stratified random subset, kept in the order of the split.

    Args:
        split: The whole split.
        count: Number of images to keep, or None for all of them.
        seed: Seed of the draw.
        name: The split's name, for the error.

    Raises:
        AdvdetectError: The split has fewer images, or fewer training images are kept than there
            are classes.
    """
    count = subset_count(count, len(split), len(split.class_names), name)
    if count is None or count == len(split):
        return split
    return _take(split, _divided(split.labels.numpy(), count, seed)[0])


def left_out(train: Split, count: int | None, seed: int) -> Split:
    """Return the training images that `subset` does not draw, in the order of the split.

    Args:
        train: The whole training split.
        count: Number of images that are drawn, or None for all of them.
        seed: Seed of the draw.

    Raises:
        AdvdetectError: All are drawn, or more than there are.
    """
    drawn = subset_count(count, len(train), len(train.class_names), "train")
    check_left_out(drawn, len(train))
    assert drawn is not None
    return _take(train, _divided(train.labels.numpy(), drawn, seed)[1])


def stratified(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return the rows of a random draw in proportion to the classes, in their order.

    Args:
        labels: (N,) the labels.
        count: How many to draw, from 1 to N.
        seed: Seed of the draw, of any size.
    """
    if count == len(labels):
        return torch.arange(count)
    return torch.from_numpy(np.sort(_divided(labels.numpy(), count, seed)[0]))


def _divided(labels: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``count`` of (N,) labelled rows in proportion to their classes; return both parts.

    Args:
        labels: The labels.
        count: How many to draw.
        seed: Seed of the draw, of any size.
    """
    rows, state = np.arange(len(labels)), seed % 2**32  # what scikit-learn takes
    classes, sizes = np.unique(labels, return_counts=True)
    if sizes.min() > 1 and min(count, len(labels) - count) >= len(classes):
        first, second = train_test_split(
            rows, train_size=count, stratify=labels, random_state=state
        )
        return first, second
    # It refuses a class of one image, and a part with fewer images than there are classes.
    first = resample(rows, replace=False, n_samples=count, stratify=labels, random_state=state)
    return first, np.setdiff1d(rows, first)


def _take(split: Split, rows: np.ndarray) -> Split:
    return split.take(torch.from_numpy(np.sort(rows)))
