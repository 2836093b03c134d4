"""Distillation as a defence (Papernot, McDaniel, Wu, Jha and Swami 2016)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Distillation:
    """The cross entropy of softmax(z/T) with the teacher's own softmax(z/T) for labels.

    Teacher and student are used at T = 1 afterwards, so that the student's logits are T times as
    large as those of standard training.

    Args:
        teacher: In eval mode, weights frozen; trained at the same temperature.
        temperature: T.
    """

    def __init__(self, *, teacher: nn.Module, temperature: float) -> None:
        self._teacher, self._temperature = teacher, temperature

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits; see `loop.Objective`."""
        with torch.no_grad():
            soft = functional.softmax(self._teacher(images) / self._temperature, dim=1)
        logits = model(images)
        return functional.cross_entropy(logits / self._temperature, soft), logits
