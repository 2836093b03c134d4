"""Logits, their margins and several of their gradients from one forward pass."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from advdetect.fisher.convolution import FastInputGradient


def differentiable_logits(
    model: nn.Module, images: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Run the model once, for any number of gradients with respect to the images.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W); not changed.

    Returns:
        The (N, classes) logits, and a function that maps (N, classes) weights to the
        (N, C, H, W) gradients of each image's weighted sum of logits: one backward pass.
    """
    variable = images.detach().requires_grad_()
    with torch.enable_grad(), FastInputGradient():
        logits = model(variable)

    def gradient(weights: Tensor) -> Tensor:
        return torch.autograd.grad(logits, variable, weights, retain_graph=True)[0]

    return logits.detach(), gradient


def margin(logits: Tensor, classes: Tensor) -> Tensor:
    """Return z_c − max_{i≠c} z_i: how far class c is ahead of all others, negative if behind.

    Args:
        logits: (N, C), C at least 2.
        classes: (N,) int64 in [0, C), one class c per image.

    Returns:
        (N,).
    """
    others = logits.scatter(1, classes[:, None], -torch.inf)
    return logits.gather(1, classes[:, None]).squeeze(1) - others.amax(dim=1)


def lead(logits: Tensor, goal: Tensor, targeted: bool) -> Tensor:
    """Return how far the goal is ahead of all other classes or, untargeted, any other of the goal.

    Args:
        logits: (N, C).
        goal: (N,) int64 classes to be reached, or to be left.
        targeted: Which of the two.
    """
    ahead = margin(logits, goal)
    return ahead if targeted else -ahead


def is_reached(
    logits: Tensor, goal: Tensor, *, targeted: bool, kappa: float | Tensor = 0
) -> Tensor:
    """Return where the goal is reached or, untargeted, left, by more than rounding could undo.

    Args:
        logits: (N, C).
        goal: (N,) int64 classes to be reached, or to be left.
        targeted: Which of the two.
        kappa: By how much at least, in logits; one number or (N,).

    Returns:
        (N,) bool.
    """
    return lead(logits, goal, targeted) >= kappa + rounding(logits)


def rounding(logits: Tensor) -> Tensor:
    """Return a margin that another batch size or device will not undo.

    A success of at least this margin is one of the stored image, too.

    Args:
        logits: (N, C).

    Returns:
        (N,), 32 units of rounding of the largest logit: some five times what was seen on LeNet-5.
    """
    return 32 * torch.finfo(logits.dtype).eps * logits.abs().amax(dim=1)
