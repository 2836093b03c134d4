"""Counting the classes that a model gives images under Gaussian noise."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.inference import batch_slices, check_finite
from advdetect.seeding import derive_seed
from advdetect.smoothing.counts import BLOCK, Block, Counts

#: Forward passes whose classes are fetched from the device together.
_CHUNK = 4096


@dataclass(frozen=True)
class Noisy:
    """Images under noise, of which classes are counted.

    Attributes:
        images: Maps the position of an image among the N to the image (C, H, W), float in [0, 1].
        index: (N,) positions in the data split, to which the noise belongs; images may share one.
        sigma: Standard deviation of the noise, greater than 0; nothing is clipped.
        draws: Number of draws for each use (`counts.USES`).
        seed: Seed of the run.
    """

    images: Callable[[int], Tensor]
    index: Sequence[int] | NDArray[np.integer]
    sigma: float
    draws: Mapping[str, int]
    seed: int

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise AdvdetectError(
                f"The sigma of the noise must be greater than 0, not {self.sigma}."
            )

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks in the order in which they are counted: image by image."""
        for row in range(len(self.index)):
            for use, draws in self.draws.items():
                for number, rows in enumerate(batch_slices(draws, BLOCK)):
                    yield Block(row, use, number, rows.stop - rows.start)

    @property
    def total(self) -> int:
        """Number of draws of all images."""
        return len(self.index) * sum(self.draws.values())


@torch.no_grad()
def count_classes(
    model: nn.Module,
    noisy: Noisy,
    *,
    batch_size: int,
    device: torch.device,
    so_far: Counts | None = None,
    after_chunk: Callable[[Counts, int], None] = lambda counts, draws: None,
) -> Counts:
    """Count the classes of f(x + noise), noise of N(0, σ²I), for each image and use.

    The noise is drawn on the device, from a stream of its own for each image and use, in blocks of
    one size. So the counts of an image depend neither on the batch nor on which other images there
    are, and those of fewer draws are the first blocks of those of more.

    Args:
        model: Classifier that returns logits, in eval mode, on the device.
        noisy: Images and noise.
        batch_size: Draws at a time, of one image or of several.
        device: Where the noise is drawn.
        so_far: What `after_chunk` was called with before, to go on from there.
        after_chunk: Called now and then with all counts so far, and how many draws came to them.

    Returns:
        The counts.

    Raises:
        AdvdetectError: Logits are no finite numbers.
    """
    counts = so_far or Counts()
    streams = _Streams(noisy, device)
    blocks = itertools.islice(noisy.blocks(), counts.blocks, None)
    together = max(1, batch_size // BLOCK)
    per_chunk = together * -(-_CHUNK // (together * BLOCK))
    while chunk := list(itertools.islice(blocks, per_chunk)):
        logits = []
        for batch in batch_slices(len(chunk), together):
            images = streams.draw(chunk[batch])
            logits += [model(images[rows]) for rows in batch_slices(len(images), batch_size)]
        answers = torch.cat(logits)
        check_finite(answers)
        counts.add(chunk, answers.argmax(1).cpu().numpy())
        after_chunk(counts, len(answers))
    return counts


class _Streams:
    """The noise of all images, block by block in their order."""

    def __init__(self, noisy: Noisy, device: torch.device) -> None:
        self._noisy, self._device = noisy, device
        self._generator = torch.Generator(device)
        self._of, self._next = (-1, ""), 0  # image and use, and the block that comes next
        self._image = self._room = torch.empty(0)

    def draw(self, blocks: Sequence[Block]) -> Tensor:
        """Return the (n, C, H, W) noisy images of the next blocks; a next call writes over them."""
        count, start = sum(block.size for block in blocks), 0
        for block in blocks:
            self._turn_to(block)
            if len(self._room) < count:
                self._room = self._image.new_empty(count, *self._image.shape)
            part = self._room[start : start + block.size]
            part.normal_(0, self._noisy.sigma, generator=self._generator).add_(self._image)
            start, self._next = start + block.size, self._next + 1
        return self._room[:count]

    def _turn_to(self, block: Block) -> None:
        """Let the generator stand where the noise of a block begins."""
        noisy = self._noisy
        if self._of[0] != block.row:
            self._image = noisy.images(block.row).to(self._device)
        if self._of != (block.row, block.use):
            self._of, self._next = (block.row, block.use), 0
            index = str(int(noisy.index[block.row]))
            self._generator.manual_seed(derive_seed(noisy.seed, "certify", block.use, index))
        while self._next < block.number:  # what was drawn before an interruption within an image
            self._image.new_empty(BLOCK, *self._image.shape).normal_(generator=self._generator)
            self._next += 1
