"""Layers that the classifiers of the project share."""

from collections.abc import Sequence
from itertools import chain, pairwise

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def activation_of(name: str) -> type[nn.Module]:
    """Return the layer that a name in `ACTIVATIONS` stands for.

    Raises:
        AdvdetectError: There is none of that name.
    """
    if name not in ACTIVATIONS:
        raise AdvdetectError(
            f"model.arguments.activation: {name} is none of {', '.join(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]


class Normalize(nn.Module):
    """Normalise images inside the model, so that every other part works on pixels in [0, 1].

    Args:
        mean: One value per channel.
        std: One value per channel, positive.
        is_kept: Whether they are among the model's weights in files.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, is_kept: bool = True
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=is_kept)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, C, H, W) images in [0, 1] to normalised ones."""
        return (images - self.mean) / self.std


def classifier_head(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    dropout: float,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Module:
    """Make the layers behind the features: flatten, hidden layers with dropout, logits.

    Args:
        inputs: Numbers per image that come in.
        hidden: Units of each hidden layer.
        outputs: Number of logits.
        dropout: Probability of dropping a hidden unit, in [0, 1).
        activation: What follows each hidden layer.
    """
    widths = [inputs, *hidden]
    layers = (
        (nn.Linear(before, after), activation(), nn.Dropout(dropout))
        for before, after in pairwise(widths)
    )
    return nn.Sequential(nn.Flatten(), *chain.from_iterable(layers), nn.Linear(widths[-1], outputs))
