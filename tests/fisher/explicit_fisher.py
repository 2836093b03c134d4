"""Fisher matrices by their definition: one gradient of log p_c at a time, in float64."""

import copy

import torch
from torch import Tensor, nn


def log_probabilities(model: nn.Module, image: Tensor, two: bool = False) -> Tensor:
    logits = model(image[None].clone())[0]
    log_p = logits.log_softmax(0)
    if two:
        y = int(logits.argmax())
        rest = torch.cat([log_p[:y], log_p[y + 1 :]]).logsumexp(0)
        log_p = torch.stack([log_p[y], rest])
    return log_p


def weight_gradients(model: nn.Module, image: Tensor, two: bool = False) -> list[Tensor]:
    """Return (C, P_t) gradients of log p_c, one matrix per parameter tensor."""
    parameters = list(model.parameters())
    log_p = log_probabilities(model, image, two)
    rows = [
        torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
        for value in log_p
    ]
    return [torch.stack(part).flatten(1) for part in zip(*rows, strict=True)]


def weight_forms(
    model: nn.Module, images: Tensor, rate: float = 1.0, two: bool = False, per_tensor: bool = False
) -> Tensor:
    """Return (N, 3): trace (4), quadratic form (5), normalised form (8) of Σ_c p_c g_c g_cᵀ."""
    model = copy.deepcopy(model).to(torch.float64).requires_grad_(True)
    rows = []
    for image in images.to(torch.float64):
        tensors = weight_gradients(model, image, two)
        p = log_probabilities(model, image, two).exp().detach()
        predicted = 0 if two else int(p.argmax())
        blocks = tensors if per_tensor else [torch.cat(tensors, dim=1)]
        trace = sum((p * block.square().sum(1)).sum() for block in blocks)
        directions = [rate * block[predicted] for block in blocks]
        form = sum(
            (p * (block @ v).square()).sum() for block, v in zip(blocks, directions, strict=True)
        )
        length = sum(v @ v for v in directions)
        rows.append(torch.stack([trace, form, form / length]))
    return torch.stack(rows)


def input_matrix(model: nn.Module, images: Tensor) -> Tensor:
    """Return the (N, D, D) input Fisher matrices."""
    model = copy.deepcopy(model).to(torch.float64)
    matrices = []
    for image in images.to(torch.float64):
        variable = image.clone().requires_grad_()
        log_p = log_probabilities(model, variable)
        rows = torch.stack(
            [
                torch.autograd.grad(value, variable, retain_graph=True)[0].flatten()
                for value in log_p
            ]
        )
        matrices.append(rows.T @ (log_p.exp().detach()[:, None] * rows))
    return torch.stack(matrices)
