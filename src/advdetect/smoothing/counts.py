"""Counts of classes under noise, in blocks, so that those of fewer draws are a part of more."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError

#: What draws are for: CERTIFY selects a class by some and bounds its probability by fresh ones, and
#: PREDICT answers by them.
USES = SELECTION, ESTIMATION, PREDICTION = "selection", "estimation", "prediction"
#: Draws of an image that are made and counted together.
BLOCK = 100
#: What a row of counts holds, in this order.
COLUMNS = ("image", "use", "block", "class", "count")


class Block(NamedTuple):
    """Draws of one image that are counted together.

    Attributes:
        row: Position of the image among those that are counted.
        use: What its draws are for.
        number: Position of the block among those of its image and use.
        size: Number of draws: `BLOCK` or, in a last block, fewer.
    """

    row: int
    use: str
    number: int
    size: int


class Counts:
    """How often each class came, of each image, use and block.

    Only classes that came have a row, so that a thousand classes take no more room than ten.

    Args:
        table: (M, 5) integers, one row for each image, use, block and class that came (`COLUMNS`);
            a use is its position in `USES`.
        blocks: How many blocks were counted.
        size: Draws of a block, of which only a last one may have fewer.
    """

    def __init__(
        self, table: NDArray[np.integer] | None = None, blocks: int = 0, size: int = BLOCK
    ) -> None:
        self.blocks, self.size = blocks, size
        start = np.empty((0, len(COLUMNS))) if table is None else table
        self._parts = [start.astype(np.int32)]

    def add(self, blocks: Sequence[Block], classes: NDArray[np.integer]) -> None:
        """Count the next blocks.

        Args:
            blocks: The blocks.
            classes: Class of each of their draws, block after block.
        """
        classes = np.asarray(classes, np.int64)
        width = int(classes.max()) + 1
        position = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
        count = np.bincount(position * width + classes)
        found = np.flatnonzero(count)
        keys = np.array([(block.row, USES.index(block.use), block.number) for block in blocks])
        rows = [keys[found // width], found % width, count[found]]
        self._parts.append(np.column_stack(rows).astype(np.int32))
        self.blocks += len(blocks)

    def table(self) -> NDArray[np.int32]:
        """Return the (M, 5) rows (`COLUMNS`)."""
        self._parts = [np.concatenate(self._parts)]
        return self._parts[0]

    def merged(self, times: int) -> "Counts":
        """Return the same counts in larger blocks.

        Args:
            times: How many blocks become one.
        """
        table = self.table().astype(np.int64)
        keys = table[:, :-1]
        keys[:, COLUMNS.index("block")] //= times
        found, row = np.unique(keys, axis=0, return_inverse=True)
        count = np.bincount(row, table[:, -1], len(found))
        return Counts(np.column_stack([found, count]), size=times * self.size)

    def draws(self) -> int:
        """Return how many draws of all images are counted."""
        return int(self.table()[:, -1].sum())

    def of(
        self, use: str, images: int, classes: int, draws: int | None = None
    ) -> NDArray[np.int64]:
        """Return how often each class came in the draws for a use.

        Args:
            use: One of `USES`.
            images: Number of images, N.
            classes: Number of classes, C.
            draws: How many draws of each image, the first ones; None for all.

        Returns:
            (N, C).

        Raises:
            AdvdetectError: There are not as many draws, or not in whole blocks.
        """
        table = self.table()
        table = table[table[:, 1] == USES.index(use)]
        if draws is not None:
            table = table[table[:, 2] < -(-draws // self.size)]
        total = np.zeros((images, classes), np.int64)
        np.add.at(total, (table[:, 0], table[:, 3]), table[:, 4])
        if draws is not None and (wrong := total.sum(axis=1) != draws).any():
            raise AdvdetectError(
                f"There are no {draws} draws for {use} of each image, but "
                f"{total.sum(axis=1)[wrong][0]}: ask for a multiple of {self.size} of those that "
                f"there are, or for all."
            )
        return total
