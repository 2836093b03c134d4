"""How the weights of convolutions lie in memory: with the channels innermost, or as PyTorch has it.

Processors compute most networks faster with the channels innermost (docs/decisions.md). What a
layer returns lies as its weights do, which a model may refuse, such as one that flattens it by
``view``.
"""

import copy

import torch
from torch import Tensor, nn

from advdetect.models.guard import ROUNDING, labels_only

# How far a gradient may differ, in parts of its length: sums are added up in another order, so that
# a few units near zero may be on the other side.
_OF_GRADIENT = 0.01


def suits_channels_last(model: nn.Module, images: Tensor) -> bool:
    """Return whether a model has the same logits and gradients with the channels innermost.

    Args:
        model: In eval mode; it is left as it is.
        images: (N, C, H, W) float in [0, 1] on the model's device, N at least 1.
    """
    if labels_only(model):
        return False
    try:
        other = copy.deepcopy(model).to(memory_format=torch.channels_last)
        with torch.no_grad():
            logits = model(images)
            difference = (other(images) - logits).abs().max()
        slope, found = (_gradient(each, images[:1]) for each in (model, other))
        same = difference <= ROUNDING[images.device.type] * logits.abs().max()
        return bool(same and (found - slope).norm() <= _OF_GRADIENT * slope.norm())
    except Exception:  # whatever a user's model does with strides
        return False


def placed(model: nn.Module, device: torch.device, *, channels_last: bool) -> nn.Module:
    """Return a model on a device, on a CPU with the channels innermost if it may; it is changed."""
    if channels_last and device.type == "cpu":
        model.to(memory_format=torch.channels_last)
    return model.to(device)


def _gradient(model: nn.Module, image: Tensor) -> Tensor:
    with torch.enable_grad():
        image = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(image).square().sum(), image)
    return gradient
