"""One row of a table: what is timed."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Compute = Callable[[nn.Module, Tensor], Tensor | None]


@dataclass(frozen=True)
class Contender:
    """One row of a table.

    Attributes:
        label: What the table calls it.
        compute: Maps a model and a chunk of images to one float64 number per image.
        chunks: Chunk sizes to choose from.
        adapt: Prepares a copy of the model, outside the measured time.
    """

    label: str
    compute: Compute
    chunks: tuple[int, ...]
    adapt: Callable[[nn.Module], nn.Module] = copy.deepcopy

    def run(self, model: nn.Module, images: Tensor, chunk: int) -> Tensor | None:
        """Compute the images chunk by chunk."""
        parts = [self.compute(model, part) for part in images.split(chunk)]
        return None if parts[0] is None else torch.cat([part for part in parts if part is not None])
