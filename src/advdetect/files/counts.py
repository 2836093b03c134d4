"""The file of a certification: a row per image, and how often each class came under noise.

Its tensors are the ``table`` of `Counts`, the sparse counts of all images in blocks of 1,000 draws,
and those of `IMAGES` with a row per image. It says nothing of α: certificates of any, or of fewer
draws, are read off the same file.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.io import read_arrays, read_tensors, write_tensors
from advdetect.provenance import read_made_by
from advdetect.smoothing.counts import BLOCK, Counts

#: What is known of each image, and the type of its numbers.
IMAGES = {
    "index": np.int64,  # position of the clean image in its data split
    "label": np.int64,  # true class
    "prediction": np.int64,  # class that the base classifier gives the image, without noise
    "attack": np.int64,  # position in the fact `attacks` of what made the image
    "l2": np.float64,  # L2 distance to the clean image, pixels in [0, 1]
}
_TABLE = "table"
_MERGED = 10  # blocks: a file of 500 images with 100,000 draws takes 2 MB in place of 15
_SECONDS_BETWEEN = 10.0


@dataclass(frozen=True)
class CountedImages:
    """Images under noise, as they were counted.

    Attributes:
        facts: The provenance, among it ``attacks``, and ``classes``, their number.
        images: (N,) of each of `IMAGES`.
        counts: The counts, whose images are the N rows.
    """

    facts: Mapping[str, Any]
    images: Mapping[str, NDArray]
    counts: Counts

    def of(self, use: str, draws: int | None = None) -> NDArray[np.int64]:
        """Return how often each class came in the draws for a use, or in the first ones: (N, C)."""
        return self.counts.of(use, len(self.images["index"]), self.facts["classes"], draws)


def write_counts(
    path: str | Path, images: Mapping[str, NDArray], counts: Counts, facts: Mapping[str, Any]
) -> None:
    """Write the file.

    Args:
        path: The file.
        images: (N,) of each of `IMAGES`.
        counts: The counts of all N.
        facts: The provenance.
    """
    columns = {name: torch.from_numpy(images[name].astype(kind)) for name, kind in IMAGES.items()}
    table = counts.merged(_MERGED).table()
    write_tensors(path, {_TABLE: torch.from_numpy(table), **columns}, facts)


def read_counts(path: str | Path) -> CountedImages:
    """Read the file.

    Raises:
        AdvdetectError: It is missing, damaged or another stage's.
    """
    facts = read_made_by(path, "certificates")
    arrays = read_arrays(path, [_TABLE, *IMAGES])
    counts = Counts(arrays.pop(_TABLE), size=_MERGED * BLOCK)
    return CountedImages(facts, arrays, counts)


class UnfinishedCounts:
    """The counts so far, beside the file under a hidden name, so that a killed job goes on.

    Args:
        output: The file.
        facts: All that the counts depend on. What other facts have left is not taken up.
    """

    def __init__(self, output: str | Path, facts: Mapping[str, Any]) -> None:
        output = Path(output)
        self._path = output.with_name(f".{output.name}.partial")
        self._facts = dict(facts)
        self._kept = time.monotonic()

    def keep(self, counts: Counts, seconds: float = _SECONDS_BETWEEN) -> None:
        """Write the counts, unless that was done less than some seconds ago."""
        if time.monotonic() - self._kept >= seconds:
            standing = {"key": self._facts["key"], "counts": self._facts, "blocks": counts.blocks}
            write_tensors(self._path, {_TABLE: torch.from_numpy(counts.table())}, standing)
            self._kept = time.monotonic()

    def resume(self) -> Counts:
        """Return what was kept, or no counts where nothing is there that could be taken up."""
        try:
            tensors, standing = read_tensors(self._path)
        except AdvdetectError:  # not there, or damaged: from the beginning
            return Counts()
        if standing.get("counts") != self._facts:
            return Counts()
        return Counts(tensors[_TABLE].numpy(), standing["blocks"])

    def remove(self) -> None:
        """Leave nothing, where all are counted."""
        self._path.unlink(missing_ok=True)
