"""Random starts within a ball, and the best of what several of them lead to."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from advdetect.attacks.gradient import Norm, inside, normalize, per_image
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


def random_start(
    images: Tensor, epsilon: float, norm: Norm, generator: SampleGenerator, *, surface: bool
) -> Tensor:
    """Draw a point of the epsilon ball around each image, clipped to the box.

    Args:
        images: (N, C, H, W) in [0, 1].
        epsilon: Radius, greater than 0.
        norm: Norm of the ball.
        generator: One stream per image.
        surface: Whether the point is then moved outwards to the ball's surface, before clipping.
            If not, it is uniform in the ball.

    Returns:
        (N, C, H, W), of the images' type.
    """
    shape = images.shape[1:]
    if norm == "linf":
        noise = 2 * generator.uniform(*shape).to(images).view_as(images) - 1
        if surface:
            noise = noise / noise.abs().amax(dim=(1, 2, 3), keepdim=True)
    else:
        noise = normalize(generator.normal(*shape).to(images).view_as(images), order=2)
        if not surface:
            # The share of the volume within a radius r is r^d, d the number of values.
            share = generator.uniform(1, 1, 1).to(images).view(-1, 1, 1, 1)
            noise = noise * share ** (1 / shape.numel())
    return inside(images + epsilon * noise, images, epsilon, norm)


class Candidate(NamedTuple):
    """Images that an attack may return, (N, C, H, W); whether they fool and their loss, (N,)."""

    image: Tensor
    success: Tensor
    loss: Tensor


def better(new: Candidate, old: Candidate) -> Candidate:
    """Return for each image the candidate that fools, of two alike that of the larger loss."""
    wins = (new.success & ~old.success) | ((new.success == old.success) & (new.loss > old.loss))
    return Candidate(
        image=torch.where(per_image(wins), new.image, old.image),
        success=new.success | old.success,
        loss=torch.where(wins, new.loss, old.loss),
    )


def best_of(restarts: int, run: Callable[[], Candidate]) -> Candidate:
    """Run an attack several times and return for each image the best that it found.

    Args:
        restarts: Number of runs, at least 1.
        run: The attack, with another random start at each call.

    Raises:
        AdvdetectError: There is no run.
    """
    if restarts < 1:
        raise AdvdetectError(f"The restarts of an attack must be at least 1, not {restarts}.")
    best = run()
    for _ in range(restarts - 1):
        best = better(run(), best)
    return best
