"""The attacks as the papers write them: float64, one image at a time, the cross entropy itself."""

import torch
from torch import Tensor, nn
from torch.nn import functional


def cross_entropy_gradient(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """Return the gradient at one (C, H, W) image."""
    variable = image.clone().requires_grad_()
    loss = functional.cross_entropy(model(variable[None]), torch.tensor([label]))
    loss.backward(inputs=[variable])
    assert variable.grad is not None
    return variable.grad


def reference_bim(
    model: nn.Module, image: Tensor, label: int, epsilon: float, norm: str, steps: int, alpha: float
) -> Tensor:
    current = image
    for _ in range(steps):
        gradient = cross_entropy_gradient(model, current, label)
        if norm == "linf":
            current = current + alpha * gradient.sign()
            current = torch.minimum(torch.maximum(current, image - epsilon), image + epsilon)
        else:
            current = current + alpha * gradient / gradient.pow(2).sum().sqrt()
            length = (current - image).pow(2).sum().sqrt()
            if length > epsilon:
                current = image + (current - image) * epsilon / length
        current = current.clamp(0, 1)
    return current


def reference_mi_fgsm(
    model: nn.Module, image: Tensor, label: int, epsilon: float, steps: int, decay: float
) -> Tensor:
    """Algorithm 1 of Dong et al. 2018."""
    current, momentum = image, torch.zeros_like(image)
    for _ in range(steps):
        gradient = cross_entropy_gradient(model, current, label)
        momentum = decay * momentum + gradient / gradient.abs().sum()
        current = (current + epsilon / steps * momentum.sign()).clamp(0, 1)
    return current
