"""Stratified subsets of a split."""

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError


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
    chosen_rows = torch.from_numpy(np.sort(chosen))
    return ImageSplit(split.images[chosen_rows], split.labels[chosen_rows], split.class_names)
