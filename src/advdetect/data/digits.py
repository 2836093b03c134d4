"""scikit-learn's bundled handwritten digits: 1,797 images of 8×8 pixels, no network needed."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from advdetect.data.split import ImageSplit

GREY_LEVELS = 16  # the images hold the integers 0 to 16


def load(*, test_fraction: float, split_seed: int) -> dict[str, ImageSplit]:
    """Load the digits (UCI Optical Recognition of Handwritten Digits, test part).

    Args:
        test_fraction: Share of the images that becomes the test split, in (0, 1); scikit-learn
            ships no split of its own. Stratified by class.
        split_seed: Seed of that split.

    Returns:
        ``{"train": …, "test": …}`` with (N, 1, 8, 8) images.
    """
    digits = load_digits()
    images = np.round(digits.images * (255 / GREY_LEVELS)).astype(np.uint8)[:, None]
    names = tuple(str(name) for name in digits.target_names)
    rows = train_test_split(
        np.arange(len(images)),
        test_size=test_fraction,
        stratify=digits.target,
        random_state=split_seed % 2**32,  # what scikit-learn takes
    )
    return {
        name: ImageSplit(
            torch.from_numpy(images[part]),
            torch.from_numpy(digits.target[part].astype(np.int64)),
            names,
        )
        for name, part in zip(("train", "test"), map(np.sort, rows), strict=True)
    }
