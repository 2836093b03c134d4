"""The networks of α-GAN, an adversarially trained auto-encoder (Rosca et al. 2017), small ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.autoencoders.architecture import AutoEncoder
from advdetect.randomness import SampleGenerator

_SLOPE = 0.2  # of the leaky ReLU, as usual in adversarial training


class AlphaGan(AutoEncoder):
    """The encoder q(z | x) and the decoder G(z) of α-GAN.

    The encoder is stochastic: z = μ(x) + σ(x) ε with ε standard normal, one of the implicit
    posteriors that the paper allows. So G(z) is a conditional generator, from which `draw` draws;
    calling the auto-encoder is deterministic and returns G(μ(x)). The reconstruction loss makes σ
    small, so draws differ less than those of a denoising auto-encoder, whose noise is fixed.

    Args:
        in_channels: Channels of the images.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        code_size: Dimensions of z.
        maps: Feature maps of the convolutions at half the size; twice as many at a quarter.
    """

    def __init__(
        self, in_channels: int, height: int, width: int, code_size: int = 32, maps: int = 16
    ) -> None:
        super().__init__()
        self.recipe = {
            "in_channels": in_channels,
            "height": height,
            "width": width,
            "code_size": code_size,
            "maps": maps,
        }
        self.encoder = _image_network(in_channels, height, width, maps, 2 * code_size)
        self.decoder = _Decoder(in_channels, height, width, maps, code_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return G(μ(x)), (N, C, H, W) in [0, 1]."""
        return self.decoder(self.posterior(images)[0])

    def draw(self, images: Tensor, generator: SampleGenerator) -> Tensor:
        """Return G(μ(x) + σ(x) ε), one draw of ε for each image."""
        mean, deviation = self.posterior(images)
        return self.decoder(mean + deviation * generator.normal(mean.shape[1]).to(mean))

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return μ(x) and σ(x), each (N, code_size)."""
        mean, log_deviation = self.encoder(images).chunk(2, dim=1)
        # Bounded, since the exponential would overflow early in training.
        return mean, log_deviation.clamp(-6, 3).exp()


class Discriminators(nn.Module):
    """The two discriminators of α-GAN, which return log-odds.

    ``images`` maps (N, C, H, W) images to log D/(1 − D), D the probability of a real image;
    ``codes`` maps (N, code_size) codes to log C/(1 − C), C the probability of a draw of the prior.
    Neither has batch norm, so an image's odds do not depend on its batch.

    Args:
        in_channels: Channels of the images.
        height: Height of the images in pixels.
        width: Width of the images in pixels.
        code_size: Dimensions of z.
        maps: Feature maps, as in `AlphaGan`.
        hidden: Units of the two hidden layers of the code discriminator.
    """

    def __init__(
        self,
        in_channels: int,
        height: int,
        width: int,
        code_size: int,
        maps: int,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.images = _image_network(in_channels, height, width, maps, 1)
        self.codes = nn.Sequential(
            nn.Linear(code_size, hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(hidden, 1),
        )


class _Decoder(nn.Module):
    """Maps (N, code_size) codes to (N, C, H, W) images: two convolutions between enlargements."""

    def __init__(
        self, in_channels: int, height: int, width: int, maps: int, code_size: int
    ) -> None:
        super().__init__()
        half = (_half(height), _half(width))
        self.sizes = ((height, width), half)
        self.quarter = (2 * maps, _half(half[0]), _half(half[1]))
        self.from_code = nn.Linear(code_size, 2 * maps * self.quarter[1] * self.quarter[2])
        self.to_half = nn.Conv2d(2 * maps, maps, 3, padding=1)
        self.to_full = nn.Conv2d(maps, in_channels, 3, padding=1)

    def forward(self, codes: Tensor) -> Tensor:
        full, half = self.sizes
        hidden = self.from_code(codes).unflatten(1, self.quarter).relu()
        hidden = self.to_half(functional.interpolate(hidden, size=half)).relu()
        return torch.sigmoid(self.to_full(functional.interpolate(hidden, size=full)))


def _image_network(
    in_channels: int, height: int, width: int, maps: int, outputs: int
) -> nn.Sequential:
    """Return a network from images to (N, outputs): two convolutions of stride 2, one layer."""
    size = _half(_half(height)) * _half(_half(width))
    return nn.Sequential(
        nn.Conv2d(in_channels, maps, 3, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(maps, 2 * maps, 3, stride=2, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Flatten(),
        nn.Linear(2 * maps * size, outputs),
    )


def _half(size: int) -> int:
    """Return the size after a 3×3 convolution of stride 2 with a margin of one pixel."""
    return (size + 1) // 2
