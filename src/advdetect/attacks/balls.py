"""What a search for a least perturbation has to know of its norm, within the box [0, 1].

Three things: how far the boundary of a linear model is, which way a step goes, and which point of a
ball is nearest. In L1 the box belongs to all of them: there the best perturbation of a linear model
changes few values, each as far as the box lets it.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from advdetect.attacks.gradient import normalize, per_image


class Ball(NamedTuple):
    """A norm and its balls.

    Attributes:
        order: Of the norm: 1, 2 or infinity.
        distance: Maps (N,) gaps that a linear function has to make up, its (N, C, H, W) gradients
            and (N, C, H, W) images to the (N,) float64 distances of the points where it has; not
            finite where there is none.
        step: Maps (N, C, H, W) directions to steps of length one (in units of the radius); zero
            stays zero.
        within: Maps (N, C, H, W) perturbations, the images and (N,) radii to perturbed images in
            the ball and in the box.
    """

    order: float
    distance: Callable[[Tensor, Tensor, Tensor], Tensor]
    step: Callable[[Tensor], Tensor]
    within: Callable[[Tensor, Tensor, Tensor], Tensor]

    def length(self, perturbation: Tensor) -> Tensor:
        """Return the (N,) norms of (N, C, H, W) perturbations."""
        return torch.linalg.vector_norm(perturbation.flatten(1), self.order, dim=1)


def _dual_distance(gap: Tensor, gradient: Tensor, _images: Tensor, order: float) -> Tensor:
    # In float64: the squares of small gradients would underflow.
    flat = gradient.flatten(1)
    return gap / torch.linalg.vector_norm(flat, order, dim=1, dtype=torch.float64)


def _filling_distance(gap: Tensor, gradient: Tensor, images: Tensor) -> Tensor:
    """Move the values of the largest slopes to the edge of the box, one after the other.

    If that does not make up for the gap, the rest is what the largest slope would take outside.
    """
    slope, order = gradient.flatten(1).abs().double().sort(dim=1, descending=True)
    room = room_along(gradient, images).flatten(1).double().gather(1, order)
    gain = slope * room
    left = gap.double()[:, None] - gain.cumsum(dim=1) + gain
    used = torch.where(slope > 0, torch.minimum(left.clamp_min(0) / slope, room), 0)
    rest = (gap - gain.sum(dim=1)).clamp_min(0) / slope[:, 0]
    return used.sum(dim=1) + rest


def _step_by_roots(direction: Tensor) -> Tensor:
    """Take the root of each entry: between the gradient and its sign; one in the mean square."""
    roots = direction.sign() * direction.abs().sqrt()
    return math.sqrt(direction[0].numel()) * normalize(roots, order=2)


def _on_sphere(perturbation: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    """Go to the sphere along the radius, then into the box."""
    return (images + per_image(radius) * normalize(perturbation, order=2)).clamp(0, 1)


def _in_cube(perturbation: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    edge = per_image(radius)
    return (images + torch.minimum(torch.maximum(perturbation, -edge), edge)).clamp(0, 1)


def _in_cross_polytope(perturbation: Tensor, images: Tensor, radius: Tensor) -> Tensor:
    """Go to the nearest point of the L1 ball and the box together (Croce & Hein 2021, section 3).

    All values shrink towards zero by one threshold and are then clipped to the box. The length that
    is left falls with the threshold, linearly between two of the values where a pixel comes to rest
    on the image or on the edge of the box.
    """
    size = perturbation.flatten(1).abs().double()
    room = room_along(perturbation, images).flatten(1).double()
    # From the largest threshold down: at its size a value starts to move, at the edge it stops.
    ends, order = torch.cat([size, size - room], dim=1).sort(dim=1, descending=True)
    rate = torch.cat([torch.ones_like(size), -torch.ones_like(size)], dim=1).gather(1, order)
    rate = rate.cumsum(dim=1)
    length = (rate[:, :-1] * (ends[:, :-1] - ends[:, 1:])).cumsum(dim=1)
    index = torch.searchsorted(length, radius.double()[:, None]).clamp_max(length.shape[1] - 1)
    beyond = length.gather(1, index) - radius[:, None]
    threshold = ends.gather(1, index + 1) + beyond / rate.gather(1, index).clamp_min(1)
    moved = torch.minimum((size - threshold.clamp_min(0)).clamp_min(0), room).to(images.dtype)
    return (images + perturbation.sign() * moved.view_as(images)).clamp(0, 1)


def room_along(direction: Tensor, images: Tensor) -> Tensor:
    """Return how far each value of images in [0, 1] can go along the sign of a direction.

    Args:
        direction: Of the images' shape.
        images: Of any shape.
    """
    return torch.where(direction > 0, 1 - images, images)


#: The norms by the names that attacks give them.
NormName = Literal["l1", "l2", "linf"]
BALLS: dict[NormName, Ball] = {
    "l1": Ball(1, _filling_distance, partial(normalize, order=2), _in_cross_polytope),
    "l2": Ball(2, partial(_dual_distance, order=2), partial(normalize, order=2), _on_sphere),
    "linf": Ball(math.inf, partial(_dual_distance, order=1), _step_by_roots, _in_cube),
}
