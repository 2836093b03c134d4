"""Noisy images as far from the clean ones as the adversarial images are: the control group."""

import torch
from torch import Tensor

from advdetect.attacks.bisection import bisect_smallest
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

# The interval is at most some 1e9 wide (a pixel's noise near zero); this leaves an error of 1e-10.
_HALVINGS = 64


@torch.no_grad()
def noisy_twins(images: Tensor, norms: Tensor, generator: SampleGenerator) -> Tensor:
    """Add Gaussian noise scaled so that each image moves by a given L2 norm after clipping.

    The noisy negatives of Feinman et al. 2017, section 5. Clipping to [0, 1] shortens the noise (on
    a black background half of it is lost), so the scale is found by bisection on the norm of the
    difference between the returned image and the clean one.

    Args:
        images: (N, C, H, W) in [0, 1].
        norms: (N,) L2 norms in pixel units, at least 0, of the adversarial perturbations.
        generator: One stream per image.

    Returns:
        (N, C, H, W) in [0, 1], of the images' type. Norm 0 gives the image itself; where the noise
        cannot reach the norm inside the box, the furthest image along it.

    Raises:
        AdvdetectError: A norm is negative or not finite.
    """
    if not bool(((norms >= 0) & norms.isfinite()).all()):
        raise AdvdetectError("The norms of the noise must be finite and not negative.")
    origin = images.double()
    noise = generator.normal(*images.shape[1:]).reshape(images.shape).to(origin)
    wanted = norms.to(origin)

    def shifted(scale: Tensor) -> Tensor:
        return (origin + scale.view(-1, 1, 1, 1) * noise).clamp(0, 1).to(images.dtype)

    def far_enough(scale: Tensor) -> Tensor:
        difference = shifted(scale).double() - origin
        return torch.linalg.vector_norm(difference.flatten(1), dim=1) >= wanted

    room = torch.where(noise > 0, 1 - origin, origin)
    furthest = (room / torch.where(noise == 0, torch.inf, noise.abs())).flatten(1).amax(dim=1)
    scale, _ = bisect_smallest(far_enough, furthest, _HALVINGS)
    return shifted(scale)
