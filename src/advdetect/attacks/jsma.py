"""Jacobian-based saliency map attack (Papernot et al. 2016), with pairs of pixels."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from advdetect.attacks.logits import differentiable_logits, is_reached
from advdetect.attacks.pareto import best_pair
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target, choose_target
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Whose derivatives are looked at.
Output = Literal["logits", "probabilities"]

#: A smaller change per step could vanish in the rounding of a pixel.
_SMALLEST_THETA = 1e-3


@torch.no_grad()
def jsma(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    target: Target = "random",
    theta: float = 1.0,
    gamma: float = 0.145,
    output: Output = "logits",
) -> AttackResult:
    """Change the two most salient pixels by θ, again and again, until the target class is reached.

    Papernot et al. 2016, Algorithms 2 and 3. With F the output of the model, a pair (p, q) has
    α = Σ_{i=p,q} ∂F_t/∂x_i and β = Σ_{i=p,q} Σ_{j≠t} ∂F_j/∂x_i; for θ > 0 the pair with α > 0,
    β < 0 and the largest −αβ is taken, the first of equal ones, for θ < 0 that with α < 0, β > 0.

    The paper differentiates the layer before the softmax (section IV.A), and so does CleverHans.
    With probabilities β = −α always, so that the two largest ∂F_t/∂x_i are taken; the other classes
    count as much as they are likely, and on MNIST fewer pixels need to change.

    Algorithm 2 bounds the number of steps by γD/2, which for θ = ±1 is a bound of the pixels that
    change. For smaller θ it is the pixels that are bounded here: once γD have changed, these alone
    may change further.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1]; D = C·H·W. Each channel of a pixel counts by itself.
        labels: (N,) int64 true classes.
        generator: One stream per image, for the random targets.
        target: How to choose t, see `choose_target`.
        theta: Change of a pixel per step, up to 1 in size and not below 0.001; positive brightens,
            negative darkens.
        gamma: Share of the pixels that may change, in (0, 1]; 0.145 in the paper.
        output: F, "logits" or "probabilities".

    Returns:
        The first images that are classified as t; where there is none, the image unchanged.

    Raises:
        AdvdetectError: The target or the output is unknown, or a parameter is outside its range.
    """
    budget = _checked_budget(theta, gamma, images[0].numel())
    if output not in get_args(Output):
        raise AdvdetectError(
            f"The output of jsma must be one of {', '.join(get_args(Output))}, not {output!r}."
        )
    targets = choose_target(target, model(images), labels, generator)
    sign = math.copysign(1, theta)
    origin = images.detach().flatten(1)
    state = {
        "origin": origin,
        "image": origin.clone(),
        "target": targets,
        "iterations": torch.zeros_like(labels),
        "success": torch.zeros_like(labels, dtype=torch.bool),
        "done": torch.zeros_like(labels, dtype=torch.bool),
    }

    def step(state: State) -> State:
        image = state["image"]
        logits, gradient = differentiable_logits(model, image.view(-1, *images.shape[1:]))
        aim = torch.zeros_like(logits).scatter(1, state["target"][:, None], 1)
        if output == "logits":
            alpha, beta = gradient(aim).flatten(1), gradient(1 - aim).flatten(1)
        else:
            # Of log F_t: the same direction, and no underflow where F_t is small.
            alpha = gradient(aim - logits.softmax(dim=1)).flatten(1)
            beta = -alpha
        changed = image != state["origin"]
        spent = changed.sum(dim=1, keepdim=True) > budget - 2
        domain = (image < 1 if theta > 0 else image > 0) & (changed | ~spent)
        p, q, found = best_pair(sign * alpha, -sign * beta, domain)
        success = is_reached(logits, state["target"], targeted=True)
        moves = found & ~success
        pair = torch.stack([p, q], dim=1)
        values = image.gather(1, pair) + theta * moves[:, None].to(image.dtype)
        return state | {
            "image": image.scatter(1, pair, values.clamp(0, 1)),
            "iterations": state["iterations"] + moves,
            "success": success,
            "done": ~moves,
        }

    # Finding a pair waits for the device anyway.
    end = iterate(state, step, keep=("image", "success", "iterations"), every=1)
    adversarial = torch.where(end["success"][:, None], end["image"], origin)
    return AttackResult(
        adversarial=adversarial.view_as(images),
        success=end["success"],
        target=targets,
        iterations=end["iterations"],
    )


def _checked_budget(theta: float, gamma: float, pixels: int) -> int:
    """Return the number of pixels that may change, after checking the parameters."""
    if not _SMALLEST_THETA <= abs(theta) <= 1:
        raise AdvdetectError(
            f"The theta of jsma must be from {_SMALLEST_THETA} to 1 in size, not {theta}."
        )
    if not 0 < gamma <= 1:
        raise AdvdetectError(f"The gamma of jsma must be in (0, 1], not {gamma}.")
    budget = math.floor(gamma * pixels + 1e-9)
    if budget < 2:
        raise AdvdetectError(
            f"A gamma of {gamma} lets jsma change no two of {pixels} pixels: "
            f"make it at least {math.ceil(2e5 / pixels) / 1e5:g}."
        )
    return budget
