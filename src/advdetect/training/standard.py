"""Standard training on the cross entropy."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.errors import AdvdetectError
from advdetect.requirements.training import numbers_of


class Standard:
    """The cross entropy, perhaps of images that are shifted and mirrored at random.

    Args:
        shift: Pixels by which an image is shifted at most, each way; what comes in is black.
        mirror: Whether half of the images are mirrored.
        layer_decay: λ of the weight decay of Szegedy et al. 2014 (section 4.2), one for all layers
            or one for each: λ Σ w²/k is added to the loss, k the units of the layer; biases are not
            decayed.
        temperature: T of softmax(z/T) in the loss; the logits' own is 1.
        part: ``i/n``, the i-th of n parts of the training images; None for all.

    Raises:
        AdvdetectError: There are fewer parts than i.
    """

    def __init__(
        self,
        *,
        shift: int = 0,
        mirror: bool = False,
        layer_decay: float | Sequence[float] | None = None,
        temperature: float = 1.0,
        part: str | None = None,
    ) -> None:
        self._shift, self._mirror, self._layer_decay = shift, mirror, layer_decay
        self._temperature = temperature
        self._part, self._parts = numbers_of(part)

    def begin(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part of the images that is trained on; see `loop.Objective`."""
        rows = part_of(labels, self._part, self._parts)
        return images[rows], labels[rows]

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits; see `loop.Objective`."""
        if self._mirror:
            images = mirrored(images)
        if self._shift:
            images = shifted(images, self._shift)
        logits = model(images)
        loss = functional.cross_entropy(logits / self._temperature, labels)
        if self._layer_decay is not None:
            loss = loss + layer_decay(model, self._layer_decay)
        return loss, logits


def part_of(labels: Tensor, part: int, parts: int) -> Tensor:
    """Return the (M,) rows of one of several disjoint parts with the same share of each class.

    Every ``parts``-th image of a class is in a part, in the order of the images.

    Args:
        labels: (N,) int64.
        part: From 1.
        parts: How many.
    """
    number = torch.zeros_like(labels)
    for label in labels.unique():
        rows = (labels == label).nonzero().flatten()
        number[rows] = torch.arange(len(rows)) % parts
    return (number == part - 1).nonzero().flatten()


def mirrored(images: Tensor) -> Tensor:
    """Return (N, C, H, W) images, each mirrored with probability one half."""
    drawn = torch.rand(len(images), device=images.device) < 0.5
    return torch.where(drawn[:, None, None, None], images.flip(3), images)


def shifted(images: Tensor, most: int) -> Tensor:
    """Return (N, C, H, W) images, each shifted by at most so many pixels down and across."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (most, most, most, most))
    down, across = torch.randint(2 * most + 1, (2, count, 1), device=images.device)
    rows = down + torch.arange(height, device=images.device)
    columns = across + torch.arange(width, device=images.device)
    image = torch.arange(count, device=images.device)[:, None, None]
    return padded[image, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def layer_decay(model: nn.Module, factors: float | Sequence[float]) -> Tensor:
    """Return Σ over layers of λ Σ w²/k, k the units of the layer.

    Szegedy et al. 2014, section 4.2.

    Args:
        model: Its layers are its parameters of two dimensions and more, in their order.
        factors: λ of all layers or of each.

    Raises:
        AdvdetectError: There are fewer or more λ than layers.
    """
    weights = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    each = [factors] * len(weights) if isinstance(factors, float | int) else list(factors)
    if len(each) != len(weights):
        raise AdvdetectError(
            f"training.standard.layer_decay has {len(each)} values, but the model has "
            f"{len(weights)} layers: give one for each, or one number for all."
        )
    terms = [
        factor * weight.square().sum() / len(weight)
        for factor, weight in zip(each, weights, strict=True)
    ]
    return torch.stack(terms).sum()
