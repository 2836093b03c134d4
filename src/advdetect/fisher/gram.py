"""Gram matrices of per-image weight gradients, layer by layer, without forming the gradients.

For R scalar functions of one image, a layer with input a and output gradients g_1 … g_R
contributes to the Gram matrix of their weight gradients through a and g alone:

- linear and convolution: the gradient of seed r is Σ_t g_rt a_tᵀ over the positions t (of an
  unfolded input), so the entry (r, s) is Σ_tu (g_rt · g_su)(a_t · a_u), summed in the
  cheaper order;
- batch norm in eval mode: Σ g x̂ and Σ g per channel; layer norm: the same per entry;
- a parameter that is added to images, or put beside them: the gradient of each image's copy;
- any other module: its own vector-Jacobian product per image, by torch.func.

Each rule returns one (N, R, R) float64 matrix per parameter. A module that is called several times
adds up its gradients, so its calls come together.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.fisher.per_image import per_image_gradients


class LayerCall(NamedTuple):
    """One call of a module: its (N, …) input and the (N, R, …) gradients at its output."""

    input: Tensor
    gradients: Tensor


class ImageCopies(nn.Module):
    """Stands for a parameter of which every image has a copy of its own: these are the output.

    Args:
        parameter: It.
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        super().__init__()
        self.weight = parameter


Grams = dict[str, Tensor]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def layer_grams(module: nn.Module, calls: Sequence[LayerCall]) -> Grams:
    """Return the Gram matrices of the gradients of a module's own parameters.

    Args:
        module: Any module with parameters of its own whose calls map one tensor to one.
        calls: At least one call; the first dimension of every tensor counts the N images.

    Returns:
        (N, R, R) float64 by the parameter's name in the module.
    """
    return _rule(module)(module, calls)


def has_rule(module: nn.Module) -> bool:
    """Say whether a module's Gram matrices need no gradients of its parameters."""
    return _rule(module) is not _any_module


def gram(rows: Tensor) -> Tensor:
    """Return the (N, R, R) float64 products of (N, R, …) gradients."""
    flat = rows.flatten(2)
    return (flat @ flat.mT).to(torch.float64)


def _rule(module: nn.Module) -> Callable[..., Grams]:
    """Choose by the exact type: a subclass may compute something else."""
    names = {name for name, _ in module.named_parameters(recurse=False)}
    if names <= {"weight", "bias"}:
        if type(module) is nn.Linear:
            return _linear
        if type(module) in _CONVOLUTIONS:
            return _convolution
        if type(module) in _BATCH_NORMS and module.running_mean is not None:
            return _batch_norm
        if type(module) is nn.LayerNorm:
            return _layer_norm
        if type(module) is ImageCopies:
            return _image_copies
    return _any_module


def _linear(module: nn.Linear, calls: Sequence[LayerCall]) -> Grams:
    inputs = [
        call.input.flatten(1, -2) if call.input.ndim > 2 else call.input[:, None] for call in calls
    ]
    shapes = [(*call.gradients.shape[:2], -1, module.out_features) for call in calls]
    gradients = [call.gradients.reshape(shape) for call, shape in zip(calls, shapes, strict=True)]
    a, g = _join(inputs, dim=1).mT, _join(gradients, dim=2).mT
    return _with_bias(module, g, outer_product_gram(a, g))


def _convolution(module: nn.Conv2d, calls: Sequence[LayerCall]) -> Grams:
    a = _join([_unfold(module, call.input) for call in calls], dim=2)
    g = _join([call.gradients.flatten(3) for call in calls], dim=3)
    images, groups = len(a), module.groups
    if groups == 1:
        return _with_bias(module, g, outer_product_gram(a, g))
    grouped_a = a.reshape(images * groups, -1, a.shape[2])
    grouped_g = g.unflatten(2, (groups, -1)).transpose(1, 2).flatten(0, 1)
    weight = outer_product_gram(grouped_a, grouped_g).unflatten(0, (images, groups)).sum(dim=1)
    return _with_bias(module, g, weight)


def _join(parts: list[Tensor], dim: int) -> Tensor:
    """Concatenate, without the copy that torch.cat makes of a single tensor."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _with_bias(module: nn.Linear | nn.Conv2d, g: Tensor, weight: Tensor) -> Grams:
    """Add the Gram matrix of the bias, whose gradient is the sum over positions of (N, R, o, T)."""
    return {"weight": weight} if module.bias is None else {"weight": weight, "bias": gram(g.sum(3))}


def outer_product_gram(a: Tensor, g: Tensor) -> Tensor:
    """Return the Gram matrix of the gradients Σ_t g_t a_tᵀ.

    Args:
        a: (N, d, T) inputs at T positions.
        g: (N, R, o, T) output gradients of R seeds at the same positions.

    Returns:
        (N, R, R) float64.
    """
    inputs, positions = a.shape[1:]
    seeds, outputs = g.shape[1:3]
    if positions == 1:
        return gram(g) * a.to(torch.float64).square().sum(dim=(1, 2))[:, None, None]
    rows = g.reshape(len(g), seeds * outputs, positions)
    if positions * (inputs + seeds * outputs) < seeds * outputs * inputs:
        weighted = (rows @ (a.mT @ a)).reshape(len(g), seeds, -1)
        return (weighted @ rows.reshape(len(g), seeds, -1).mT).to(torch.float64)
    return gram((rows @ a.mT).reshape(len(g), seeds, -1))


def _unfold(module: nn.Conv2d, images: Tensor) -> Tensor:
    """Return the (N, channels·kernel, T) patches that a convolution's kernel meets."""
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    patches = functional.pad(images, _padding(module), mode=mode)
    for axis, (kernel, stride, dilation) in enumerate(
        zip(module.kernel_size, module.stride, module.dilation, strict=True), start=2
    ):
        patches = patches.unfold(axis, dilation * (kernel - 1) + 1, stride)[..., ::dilation]
    dimensions = len(module.kernel_size)
    # (N, channels, positions…, kernel…) to (N, channels, kernel…, positions…)
    order = [0, 1, *range(2 + dimensions, 2 + 2 * dimensions), *range(2, 2 + dimensions)]
    patches = patches.permute(order)
    return patches.reshape(len(images), -1, patches.shape[2 + dimensions :].numel())


def _padding(module: nn.Conv2d) -> list[int]:
    """Return a convolution's padding, explicit, in the order of `functional.pad`."""
    pairs = []
    for axis, (kernel, dilation) in enumerate(
        zip(module.kernel_size, module.dilation, strict=True)
    ):
        if module.padding == "same":
            total = dilation * (kernel - 1)
            pairs.append([total // 2, total - total // 2])
        else:
            width = 0 if isinstance(module.padding, str) else module.padding[axis]
            pairs.append([width, width])
    return [width for pair in reversed(pairs) for width in pair]


def _batch_norm(module: nn.BatchNorm2d, calls: Sequence[LayerCall]) -> Grams:
    mean, variance = module.get_buffer("running_mean"), module.get_buffer("running_var")
    weight, bias = [], []
    for call in calls:
        g = call.gradients.flatten(3) if call.gradients.ndim > 3 else call.gradients[..., None]
        x = call.input.flatten(2) if call.input.ndim > 2 else call.input[..., None]
        normalized = (x - mean[:, None]) * (variance[:, None] + module.eps).rsqrt()
        weight.append(torch.einsum("nrft,nft->nrf", g, normalized))
        bias.append(g.sum(dim=3))
    rows = {"weight": torch.stack(weight).sum(0), "bias": torch.stack(bias).sum(0)}
    return {name: gram(rows[name]) for name, _ in module.named_parameters()}


def _layer_norm(module: nn.LayerNorm, calls: Sequence[LayerCall]) -> Grams:
    # Said out loud, since torch.func takes mean and variance as constants: its gradients of weights
    # could not be differentiated by the images.
    shape = module.normalized_shape
    weight, bias = [], []
    for call in calls:
        normalized = functional.layer_norm(call.input, shape, eps=module.eps)
        g = call.gradients.reshape(*call.gradients.shape[:2], -1, *shape)
        weight.append((g * normalized.reshape(len(g), 1, -1, *shape)).sum(dim=2))
        bias.append(g.sum(dim=2))
    rows = {"weight": torch.stack(weight).sum(0), "bias": torch.stack(bias).sum(0)}
    return {name: gram(rows[name]) for name, _ in module.named_parameters()}


def _image_copies(_module: ImageCopies, calls: Sequence[LayerCall]) -> Grams:
    return {"weight": gram(torch.stack([call.gradients for call in calls]).sum(0))}


def _any_module(module: nn.Module, calls: Sequence[LayerCall]) -> Grams:
    parts = [per_image_gradients(module, call.input, call.gradients) for call in calls]
    return {name: gram(torch.stack([part[name] for part in parts]).sum(0)) for name in parts[0]}
