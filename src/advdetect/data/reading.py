"""Reading the images of a split that was only listed, several at a time."""

import math
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from advdetect.data.split import ImageSplit, Split
from advdetect.progress import track


def with_images(split: Split, threads: int, folder: Path) -> ImageSplit:
    """Return a split with its images, which are read here unless they are there already.

    They are not kept in memory but in a file without a name, which ends with the process: 50,000
    images of 224×224 pixels are 7.5 GB.

    Args:
        split: The split.
        threads: How many images are read at once; decoders work outside Python's lock.
        folder: Where the file may lie.

    Raises:
        AdvdetectError: An image cannot be read.
    """
    if isinstance(split, ImageSplit):
        return split
    images = _mapped((len(split), *split.shape), folder)

    def place(row: int) -> None:
        images[row] = split.read(split.sources[row])

    with ThreadPoolExecutor(threads) as pool:
        for _ in track(pool.map(place, range(len(split))), len(split), "prepare-data", "image"):
            pass
    return ImageSplit(torch.from_numpy(images), split.labels, split.class_names)


def _mapped(shape: tuple[int, ...], folder: Path) -> np.ndarray:
    """Return an array of bytes of its own file; one of no bytes cannot be mapped."""
    if 0 in shape:
        return np.empty(shape, np.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        # A full disk would end the process when the array is written to.
        os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        return np.memmap(file, np.uint8, "w+", shape=shape)
