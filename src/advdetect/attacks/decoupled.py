"""Steps that decouple direction and norm (Rony et al. 2019), on lanes.

The gradient says where an image goes, and nothing but its success how far from the clean image: the
point is put into a ball that shrinks after a success and grows otherwise, so that a search walks
along the boundary of a class. There is no penalty whose weight would have to be found.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advdetect.attacks.balls import Ball
from advdetect.attacks.gradient import per_image
from advdetect.attacks.logits import differentiable_logits
from advdetect.attacks.record import record
from advdetect.lanes import State

#: Maps (lanes, C) logits and the lanes to (lanes, C) weights of the logits, whose gradient is the
#: direction, and (lanes,) bool: success.
Aim = Callable[[Tensor, State], tuple[Tensor, Tensor]]


def lanes_at(ball: Ball, image: Tensor, origin: Tensor, radius: Tensor) -> State:
    """Return lanes before the first step.

    Args:
        ball: The norm.
        image: (lanes, C, H, W) where they start.
        origin: (lanes, C, H, W) clean images.
        radius: (lanes,) of the ball around each origin.
    """
    corner = torch.maximum(origin, 1 - origin)
    return {
        "origin": origin,
        "image": image,
        "radius": radius,
        "farthest": ball.length(corner),
        "best": origin[:, None].clone(),
        "shortest": torch.full_like(radius, torch.inf)[:, None],
    }


def look(model: nn.Module, ball: Ball, state: State, aim: Aim) -> tuple[Tensor, Tensor]:
    """Take over the images that are nearer successes, and return where to go from them.

    Args:
        model: Classifier that returns logits, in eval mode.
        ball: The norm.
        state: Lanes, changed in place.
        aim: What the lanes look for.

    Returns:
        (lanes, C, H, W) directions and (lanes,) bool: success.
    """
    image = state["image"]
    logits, gradient = differentiable_logits(model, image)
    weights, success = aim(logits, state)
    record(state, image, success, [ball.length(image - state["origin"])])
    return gradient(weights), success


def adapt_radius(state: State, success: Tensor, gamma: float | Tensor) -> None:
    """Shrink the balls of successes by γ, let the others grow by γ, up to the farthest corner.

    Args:
        state: Lanes, changed in place.
        success: (lanes,) bool.
        gamma: γ in (0, 1), one number or (lanes,).
    """
    factor = 1 + torch.where(success, -1.0, 1.0).to(state["radius"]) * gamma
    state["radius"] = torch.minimum(state["radius"] * factor, state["farthest"])


def step_in_ball(ball: Ball, state: State, direction: Tensor, length: Tensor) -> None:
    """Step along a direction, back into the ball (in L2 to its sphere), and into the box.

    Args:
        ball: The norm.
        state: Lanes, changed in place.
        direction: (lanes, C, H, W); its length does not matter.
        length: (lanes,) of the step, in pixel units.
    """
    moved = state["image"] - state["origin"] + per_image(length) * ball.step(direction)
    state["image"] = ball.within(moved, state["origin"], state["radius"])


def cosine_fall(start: float | Tensor, end: float, progress: Tensor) -> Tensor:
    """Return what falls from start to end along half a cosine while progress goes from 0 to 1."""
    return end + (start - end) * (1 + torch.cos(torch.pi * progress)) / 2
