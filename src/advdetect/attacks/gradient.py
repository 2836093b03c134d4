"""What the gradient attacks share: loss gradient, step, projection, loop, success.

An attack is a direction; `ascend` does the rest. All functions are pure and treat every image of a
batch on its own.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate

Norm = Literal["l2", "linf"]

#: Maps the current images and the previous direction (zeros before the first step), both
#: (n, C, H, W), and the (n,) positions of these among all images, of which some may have left, to
#: the direction of the next step; its length does not matter.
Direction = Callable[[Tensor, Tensor, Tensor], Tensor]


def error_log_odds(logits: Tensor, labels: Tensor) -> Tensor:
    """Return log((1 − p_y) / p_y) = logsumexp_{c≠y} z_c − z_y, a loss without saturation.

    The cross entropy is softplus of this number, so both rank images alike and their gradients
    have the same direction. In float32 the cross entropy's own gradient p − e_y loses its entry at
    y once 1 − p_y < 6e-8, and a confident model's gradient turns or vanishes; this one does not.

    Args:
        logits: (N, C), C at least 2.
        labels: (N,) int64 in [0, C).

    Returns:
        (N,) one value per image.
    """
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.logsumexp(dim=1) - logits.gather(1, labels[:, None]).squeeze(1)


def loss_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the input gradient of each image's cross entropy, divided by 1 − p_y > 0.

    That is the gradient of `error_log_odds`, summed and not averaged over the batch, so the result
    for an image does not depend on the others. The factor matters to no attack that uses the
    direction of the gradient only.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) in [0, 1].
        labels: (N,) int64.

    Returns:
        (N, C, H, W).
    """
    return input_gradient(model, images, lambda logits: error_log_odds(logits, labels))


def input_gradient(model: nn.Module, images: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the (N, C, H, W) gradient of each image's own loss.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) in [0, 1].
        loss: Maps (N, C) logits to (N,) losses.
    """
    variable = images.detach().requires_grad_()
    with torch.enable_grad():
        total = loss(model(variable)).sum()
    (gradient,) = torch.autograd.grad(total, variable)
    return gradient


def up_the_loss(model: nn.Module, labels: Tensor) -> Direction:
    """Return the direction of the loss gradient at the current images, whatever came before."""

    def direction(current: Tensor, _previous: Tensor, lanes: Tensor) -> Tensor:
        return loss_gradient(model, current, labels[lanes])

    return direction


def normalize(direction: Tensor, order: int) -> Tensor:
    """Divide each image's direction by its norm of the given order; zero stays zero.

    Args:
        direction: (N, C, H, W).
        order: 1 or 2.

    Returns:
        (N, C, H, W), each image of norm one or zero.
    """
    flat = direction.flatten(1)
    peak = flat.abs().amax(dim=1, keepdim=True)
    # Largest entry one first: the squares of small gradients would underflow.
    flat = flat / torch.where(peak > 0, peak, 1)
    size = torch.linalg.vector_norm(flat, order, dim=1, keepdim=True)
    return (flat / size.clamp_min(1)).view_as(direction)


def steepest_step(direction: Tensor, norm: Norm) -> Tensor:
    """Return the step of norm one that goes furthest along a direction; zero stays zero.

    Args:
        direction: (N, C, H, W).
        norm: "linf" gives the sign, "l2" the direction divided by its length.

    Returns:
        (N, C, H, W).
    """
    return direction.sign() if norm == "linf" else normalize(direction, order=2)


def project(images: Tensor, origin: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Return the points nearest to the images in the epsilon balls around their origins.

    Args:
        images: (N, C, H, W).
        origin: (N, C, H, W) centres of the balls.
        epsilon: Radius, greater than 0.
        norm: Norm of the ball; nearest is meant in L2.

    Returns:
        (N, C, H, W).
    """
    difference = images - origin
    if norm == "linf":
        return origin + difference.clamp(-epsilon, epsilon)
    size = torch.linalg.vector_norm(difference.flatten(1), dim=1).clamp_min(epsilon)
    return origin + difference * per_image(epsilon / size)


def inside(images: Tensor, origin: Tensor, epsilon: float, norm: Norm) -> Tensor:
    """Project on the epsilon balls around the origins, then clip to the box [0, 1].

    Clipping cannot leave a ball, since its centre is in the box. Arguments as of `project`.
    """
    return project(images, origin, epsilon, norm).clamp(0, 1)


@torch.no_grad()
def misclassified(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return an (N,) bool tensor that is true where the model's class is not the label."""
    return model(images).argmax(dim=1) != labels


@torch.no_grad()
def ascend(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    direction: Direction,
    *,
    epsilon: float,
    norm: Norm,
    steps: int = 1,
    step_size: float | None = None,
    target: Tensor | None = None,
    stop_at_success: bool = False,
    start: Tensor | None = None,
) -> AttackResult:
    """Walk along a direction inside the epsilon ball and the box [0, 1].

    x ← inside(x + α · steepest_step(direction)). Usually all the steps are taken, and every image
    has the same budget.

    With `stop_at_success` each image stays where it first fools the model, at the least
    perturbation of its path to the length of a step, and no longer costs anything. That is an
    attack of the minimal-norm kind, in which an image that is never fooled has no perturbation: it
    is returned unchanged.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64; success is a returned image that the model classifies otherwise.
        direction: The attack.
        epsilon: Radius of the ball in pixel units, greater than 0.
        norm: Norm of the ball and of the steps.
        steps: Number of steps, at least 1.
        step_size: α, greater than 0; None means epsilon / steps.
        target: (N,) int64 classes aimed at, recorded in the result.
        stop_at_success: Whether an image stays where it first fools the model.
        start: (N, C, H, W) where the walk begins, in the ball and the box; None means the images.

    Returns:
        The perturbed images, where the attack failed too; with `stop_at_success`, unchanged images
        where it failed.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    step_size = checked_step_size(epsilon, norm, steps, step_size)
    origin = images.detach()
    begin = origin if start is None else start

    def step(state: State) -> State:
        heading = direction(state["adversarial"], state["heading"], state["lane"])
        moved = state["adversarial"] + step_size * steepest_step(heading, norm)
        moved = inside(moved, origin[state["lane"]], epsilon, norm)
        taken = state["iterations"] + 1
        return state | {"heading": heading, "adversarial": moved, "iterations": taken}

    def judge(state: State) -> State:
        success = misclassified(model, state["adversarial"], labels[state["lane"]])
        at_the_end = state["iterations"] == steps
        return state | {"success": success, "done": at_the_end | (success & stop_at_success)}

    nothing = torch.zeros_like(labels, dtype=torch.bool)
    state = {
        "lane": torch.arange(len(labels), device=labels.device),
        "adversarial": begin,
        "heading": torch.zeros_like(begin),
        "iterations": torch.zeros_like(labels),
        "success": nothing,
        "done": nothing,
    }
    found = iterate(
        judge(state) if stop_at_success else state,
        step,
        keep=("adversarial", "iterations", "success"),
        every=1 if stop_at_success else steps,
        check=judge,
    )
    if stop_at_success:
        found["adversarial"] = torch.where(
            per_image(found["success"]), found["adversarial"], origin
        )
    return AttackResult(**found, target=target)


def checked_step_size(
    epsilon: float, norm: str, steps: int, step_size: float | None, reach: float = 1
) -> float:
    """Return the step size, None as reach · epsilon / steps, after checking those of `ascend`."""
    check_norm(norm)
    check_steps(steps)
    step_size = reach * epsilon / steps if step_size is None else step_size
    if not (epsilon > 0 and step_size > 0):
        raise AdvdetectError(
            "The epsilon and step_size of an attack must be greater than 0, "
            f"not {epsilon} and {step_size}."
        )
    return step_size


def check_norm(norm: str) -> None:
    """Raise `AdvdetectError` if the norm is neither "l2" nor "linf"."""
    if norm not in ("l2", "linf"):
        raise AdvdetectError(f"The norm of an attack must be l2 or linf, not {norm!r}.")


def check_steps(steps: int) -> None:
    """Raise `AdvdetectError` if there is not at least one step."""
    if steps < 1:
        raise AdvdetectError(f"The steps of an attack must be at least 1, not {steps}.")


def per_image(values: Tensor) -> Tensor:
    """Return (N,) values as (N, 1, 1, 1), one for each image of (N, C, H, W)."""
    return values.view(-1, 1, 1, 1)
