"""What classifiers have in common that scikit-learn fits and that answer labels only."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.inference import to_float

#: The logit of the label, beside zeros: its probability is 1 in float32, without overflow.
CERTAIN = 50.0
# Distances at a time, and pixel values of what they are measured to: 128 and 32 MB of float64.
_DISTANCES = 2**24
_REFERENCES = 2**22


class LabelsOnly(nn.Module, ABC):
    """A classifier that is fitted by a method of its own and has neither scores nor a gradient.

    What was fitted are parameters without gradient. Their sizes are those of the file that they are
    read from; before, they are empty.

    Args:
        num_classes: Number of classes.
        tensors: Type of each parameter by name.
    """

    #: Says to whom it is given that there is nothing but the label: no gradient, no probabilities.
    labels_only = True

    def __init__(self, num_classes: int, tensors: Mapping[str, torch.dtype]) -> None:
        super().__init__()
        self.num_classes = num_classes
        for name, dtype in tensors.items():
            empty = nn.Parameter(torch.empty(0, dtype=dtype), requires_grad=False)
            self.register_parameter(name, empty)
        self.register_load_state_dict_pre_hook(_take_sizes)

    def fit(self, images: Tensor, labels: Tensor, *, seed: int) -> None:
        """Fit to (N, C, H, W) uint8 images and their (N,) labels, on the CPU.

        Args:
            images: The training images.
            labels: Their classes, int64.
            seed: Seed, where something is random.
        """
        for name, values in self.fitted(images.flatten(1), labels, seed % 2**32).items():
            parameter = self.get_parameter(name)
            parameter.data = values.to(parameter)

    @abstractmethod
    def fitted(self, images: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the tensors that are fitted to (N, D) uint8 images; the seed is of 32 bits."""

    @abstractmethod
    def labels(self, images: Tensor) -> Tensor:
        """Return the (N,) labels of (N, D) images in [0, 1]."""

    def at_a_time(self) -> int:
        """Return how many images `labels` is given at a time: what bounds its memory."""
        return 4096

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return (N, num_classes) logits of (N, C, H, W) images: `CERTAIN` at the label, else 0."""
        parts = images.flatten(1).split(self.at_a_time())
        labels = torch.cat([self.labels(part) for part in parts])
        logits = images.new_zeros(len(images), self.num_classes)
        return logits.scatter(1, labels[:, None], CERTAIN)


def _take_sizes(
    module: nn.Module, state: Mapping[str, Tensor], prefix: str, *_: Any
) -> None:  # before the values are copied
    for name, parameter in module.named_parameters(recurse=False):
        if (given := state.get(f"{prefix}{name}")) is not None:
            parameter.data = parameter.new_empty(given.shape)


def as_pixels(images: Tensor) -> Tensor:
    """Return uint8 images as the float64 values in [0, 1] that a model gets of them."""
    return to_float(images).double()


def rows_for(references: int) -> int:
    """Return how many images may be compared with so many references at a time."""
    return max(1, _DISTANCES // max(1, references))


def squared_distances(images: Tensor, references: Tensor) -> Tensor:
    """Return (N, M) float64 squared distances between (N, D) images and (M, D) uint8 ones."""
    images = images.double()
    blocks: Sequence[Tensor] = references.split(max(1, _REFERENCES // references.shape[1]))
    parts = []
    for block in blocks:
        pixels = as_pixels(block)
        lengths = images.square().sum(1)[:, None] + pixels.square().sum(1)
        parts.append(torch.addmm(lengths, images, pixels.T, alpha=-2).clamp_min(0))
    return torch.cat(parts, dim=1)
