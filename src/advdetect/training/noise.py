"""Training with Gaussian noise (Cohen, Rosenfeld and Kolter 2019, section 3.3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Noise:
    """The cross entropy of x + ε, ε ~ N(0, σ²I); the noise is not clipped.

    Args:
        sigma: σ, in pixel units of [0, 1].
    """

    def __init__(self, *, sigma: float) -> None:
        self._sigma = sigma

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits; see `loop.Objective`."""
        logits = model(images + self._sigma * torch.randn_like(images))
        return functional.cross_entropy(logits, labels), logits
