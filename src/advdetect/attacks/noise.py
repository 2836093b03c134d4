"""Noisy images as far from the clean ones as the adversarial images are: the control group.

An attack's file keeps the scale of each image's noise; the images are drawn when they are needed.
"""

import torch
from torch import Tensor

from advdetect.attacks.bisection import bisect_smallest
from advdetect.errors import AdvdetectError
from advdetect.naming import family
from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed

# The interval is at most some 1e9 wide (a pixel's noise near zero); this leaves an error of 1e-10.
_HALVINGS = 64


def noise_streams(seed: int, attack: str, index: Tensor) -> SampleGenerator:
    """Return the streams of an attack's noise; the values of a sweep have them in common.

    Args:
        seed: The run's seed.
        attack: The attack's name.
        index: (N,) positions of the images in their data split.
    """
    return SampleGenerator(derive_seed(seed, "noise", family(attack)), index)


@torch.no_grad()
def noise_scale(images: Tensor, norms: Tensor, generator: SampleGenerator) -> Tensor:
    """Return what Gaussian noise is to be multiplied by to move each image by a given L2 norm.

    The noisy negatives of Feinman et al. 2017, section 5. Clipping to [0, 1] shortens the noise (on
    a black background half of it is lost), so the scale is found by bisection on the norm of the
    difference between the image that `noisy_twins` returns and the clean one.

    Args:
        images: (N, C, H, W) in [0, 1].
        norms: (N,) L2 norms in pixel units, at least 0, of the adversarial perturbations.
        generator: One stream per image.

    Returns:
        (N,) float64, at least 0. Where the noise cannot reach the norm inside the box, the scale
        that moves every pixel to the box's wall.

    Raises:
        AdvdetectError: A norm is negative or not finite.
    """
    if not bool(((norms >= 0) & norms.isfinite()).all()):
        raise AdvdetectError("The norms of the noise must be finite and not negative.")
    origin, noise = images.double(), _draw(images, generator)
    wanted = norms.to(origin)

    def far_enough(scale: Tensor) -> Tensor:
        difference = _shifted(origin, noise, scale).to(images.dtype).double() - origin
        return torch.linalg.vector_norm(difference.flatten(1), dim=1) >= wanted

    room = torch.where(noise > 0, 1 - origin, origin)
    furthest = (room / torch.where(noise == 0, torch.inf, noise.abs())).flatten(1).amax(dim=1)
    scale, _ = bisect_smallest(far_enough, furthest, _HALVINGS)
    return scale


def noisy_twins(images: Tensor, scale: Tensor, generator: SampleGenerator) -> Tensor:
    """Add Gaussian noise to images, clipped to [0, 1].

    Args:
        images: (N, C, H, W) in [0, 1].
        scale: (N,) float64, from `noise_scale`.
        generator: One stream per image, as it was there.

    Returns:
        (N, C, H, W) in [0, 1], of the images' type.
    """
    return _shifted(images.double(), _draw(images, generator), scale).to(images.dtype)


def _draw(images: Tensor, generator: SampleGenerator) -> Tensor:
    noise = generator.normal(*images.shape[1:]).reshape(images.shape)
    return noise.to(images.device, torch.float64)


def _shifted(origin: Tensor, noise: Tensor, scale: Tensor) -> Tensor:
    return (origin + scale.view(-1, 1, 1, 1) * noise).clamp(0, 1)
