"""The denoising auto-encoders of MagNet (Meng & Chen 2017)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

_POOLINGS: dict[int | str, Callable[..., nn.Module]] = {
    "average": nn.AvgPool2d,
    "max": nn.MaxPool2d,
}


class AutoEncoder(nn.Module, ABC):
    """Maps (N, C, H, W) images in [0, 1] to reconstructions of that shape and range.

    Calling it is deterministic; `draw` is a conditional generator, x' ~ p(x' | x).

    Attributes:
        recipe: The arguments of the constructor, plain values that JSON can hold.
    """

    recipe: dict[str, Any]

    @abstractmethod
    def draw(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """Return one random reconstruction of each of the (N, C, H, W) images in [0, 1].

        Args:
            images: The images.
            generator: One stream per image.
        """


class DenoisingAutoEncoder(AutoEncoder):
    """Convolutions of 3×3 with sigmoid, and poolings, mirrored: those of Meng & Chen 2017.

    A random reconstruction is ae(clip(x + noise)), with the noise of the training.

    Args:
        structure: The encoder, in the paper's notation: a number is a convolution with that many
            maps, ``average`` and ``max`` are 2×2 poolings. The decoder is its mirror image, with
            repeated pixels for a pooling, and a last convolution to the channels of the images.
            [3, average, 3] is the paper's auto-encoder I for MNIST; [3] is II, and the one for
            CIFAR-10.
        in_channels: Channels of the images.
        noise: Standard deviation of the Gaussian noise of a random reconstruction, at least 0.

    Raises:
        AdvdetectError: The structure is empty or holds something else.
    """

    def __init__(
        self, structure: Sequence[int | str], in_channels: int = 1, noise: float = 0.1
    ) -> None:
        super().__init__()
        _check_structure(structure)
        self.noise = noise
        self.recipe = {"structure": list(structure), "in_channels": in_channels, "noise": noise}
        channels = in_channels
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for layers, halves in ((self.encoder, structure), (self.decoder, structure[::-1])):
            for entry in halves:
                if isinstance(entry, int):
                    layers.append(_convolution(channels, entry))
                    channels = entry
                elif layers is self.encoder:
                    # Rounded up, so that no row of an odd height is lost.
                    layers.append(_POOLINGS[entry](2, ceil_mode=True))
                else:
                    layers.append(nn.Upsample(scale_factor=2))
        self.decoder.append(_convolution(channels, in_channels))
        # On the CPU, convolutions of so few maps are twice as fast in this layout.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, C, H, W) reconstructions in [0, 1] of images in [0, 1]."""
        hidden, sizes = images.contiguous(memory_format=torch.channels_last), []
        for layer in self.encoder:
            if not isinstance(layer, nn.Sequential):
                sizes.append(hidden.shape[-2:])
            hidden = layer(hidden)
        for layer in self.decoder:
            hidden = layer(hidden)
            if isinstance(layer, nn.Upsample):
                height, width = sizes.pop()
                hidden = hidden[..., :height, :width]
        return hidden.contiguous()

    def draw(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """Return ae(clip(x + noise)), one draw of the noise for each image."""
        noise = generator.normal(*images.shape[1:]).to(images)
        return self(add_noise(images, noise, self.noise))


def add_noise(images: Tensor, standard_normal: Tensor, deviation: float) -> Tensor:
    """Return the images with Gaussian noise of that standard deviation, clipped to [0, 1]."""
    return (images + deviation * standard_normal).clamp(0, 1)


def initialise(network: nn.Module) -> None:
    """Draw weights as Keras does, with which both papers' networks were trained.

    Uniform weights by Glorot & Bengio (2010) and biases of zero; torch's smaller default leaves a
    stack of sigmoids constant for many epochs.
    """
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.Sigmoid())


def _check_structure(structure: Sequence[int | str]) -> None:
    wrong = [
        entry
        for entry in structure
        if not (isinstance(entry, int) and entry >= 1) and entry not in _POOLINGS
    ]
    if wrong or not structure:
        raise AdvdetectError(
            f"structure: {list(structure)} is no auto-encoder; list numbers of maps, 'average' and "
            "'max', for example [3, average, 3]."
        )
