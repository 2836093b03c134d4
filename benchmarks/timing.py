"""Choosing chunk sizes, and timing contenders in turn, so that all meet the same machine."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from contender import Contender

#: Seconds that one timing of one contender may take; it decides how many images are used.
_SECONDS = 1.5


@dataclass
class Entry:
    """A contender with its model, its chosen chunk size and its measurements."""

    contender: Contender
    model: nn.Module
    chunk: int
    count: int
    seconds_per_image: list[float]
    values: Tensor | None = None

    @property
    def milliseconds(self) -> float:
        """Median over the rounds."""
        return 1e3 * statistics.median(self.seconds_per_image)

    def measure(self, images: Tensor) -> None:
        """Time the contender once on its share of the images."""
        part = images[: self.count]
        start = time.perf_counter()
        self.values = self.contender.run(self.model, part, self.chunk)
        self.seconds_per_image.append((time.perf_counter() - start) / len(part))


def tune(contender: Contender, model: nn.Module, images: Tensor) -> Entry:
    """Choose the fastest chunk size; stop at sizes that take too long to try."""
    adapted = contender.adapt(model)
    contender.compute(adapted, images[:1])  # the first call of anything is slow
    best = (float("inf"), 1)
    for chunk in sorted({min(chunk, len(images)) for chunk in contender.chunks}):
        part = images[:chunk]
        start = time.perf_counter()
        contender.compute(adapted, part)
        once = time.perf_counter() - start
        start = time.perf_counter()
        if once < _SECONDS:
            contender.compute(adapted, part)
            once = time.perf_counter() - start
        best = min(best, (once / len(part), chunk))
        if once > 2 * _SECONDS:
            break
    seconds, chunk = best
    chunks = max(1, min(len(images), int(_SECONDS / seconds)) // chunk)
    return Entry(contender, adapted, chunk, min(len(images), chunks * chunk), [])


def measure_in_turn(entries: list[Entry], images: Tensor, repeats: int) -> None:
    """Time every contender once per round, in a new order each round."""
    for order in random_orders(len(entries), repeats):
        for index in order:
            entries[index].measure(images)


def random_orders(count: int, rounds: int) -> list[list[int]]:
    """Return an order of the contenders for each round."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randperm(count, generator=generator).tolist() for _ in range(rounds)]
