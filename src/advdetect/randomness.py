"""Random numbers that belong to an image and a purpose, never to a batch or to global state."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class SampleGenerator:
    """One independent random stream per image (Philox, keyed by the seed and the image's index).

    The numbers of an image depend neither on the batch that it is in nor on which other images are
    used, so results do not depend on the batch size. Streams advance with every draw.

    Args:
        seed: Seed of the purpose, from `advdetect.seeding.derive_seed`.
        index: (N,) position of each image in its data split.
    """

    def __init__(self, seed: int, index: Sequence[int] | Tensor) -> None:
        self._seed = seed
        self._index = np.asarray(index, dtype=np.uint64)
        # Made when they are drawn from; a slice of the array shares what it holds.
        self._streams = np.full(len(self._index), None)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, rows: slice | Tensor) -> "SampleGenerator":
        """Return the streams of some images; they are shared with this generator, not copied.

        Args:
            rows: A slice, or (n,) positions.
        """
        part = SampleGenerator.__new__(SampleGenerator)
        chosen: slice | NDArray[np.int64]
        if isinstance(rows, slice):
            chosen = rows
        else:
            chosen = rows.cpu().numpy()
            list(self._made())  # a copy of the array shares the streams that there are
        part._seed, part._index = self._seed, self._index[chosen]
        part._streams = self._streams[chosen]
        return part

    def _made(self) -> Iterator[np.random.Generator]:
        for row, key in enumerate(self._index):
            if self._streams[row] is None:
                philox = np.random.Philox(key=np.array([self._seed, key], dtype=np.uint64))
                self._streams[row] = np.random.Generator(philox)
            yield self._streams[row]

    def uniform(self, *shape: int) -> Tensor:
        """Draw from [0, 1): a float32 CPU tensor of shape (N, *shape)."""
        return self._stack([stream.random(shape, dtype=np.float32) for stream in self._made()])

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers: a float32 CPU tensor of shape (N, *shape)."""
        return self._stack(
            [stream.standard_normal(shape, dtype=np.float32) for stream in self._made()]
        )

    def integers(self, high: int) -> Tensor:
        """Draw one integer in [0, high) per image: an int64 CPU tensor of shape (N,)."""
        return self._stack([stream.integers(high) for stream in self._made()])

    @staticmethod
    def _stack(rows: list) -> Tensor:
        return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0)
