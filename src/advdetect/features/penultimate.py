"""What a classifier knows of an image just before its logits."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from advdetect.errors import AdvdetectError


@torch.no_grad()
def penultimate(
    model: nn.Module, images: Tensor, layer: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return the last hidden layer φ(x) and the logits, from one forward pass.

    φ(x) is the input of the last linear or convolutional layer that runs, the one that makes the
    logits; so it is found in any model, whatever its modules are called.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        layer: Name of a module, as in ``model.named_modules()``, whose output to take instead.

    Returns:
        (N, d) flattened features and (N, classes) logits, on the device of the images.

    Raises:
        AdvdetectError: The model has no such layer, or the layer did not run or does not return
            one row per image.
    """
    # A clone, because a later in-place ReLU would change what was seen.
    seen: list[Tensor] = []

    def keep_input(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[:] = [inputs[0].clone()]

    def keep_output(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        seen[:] = [output.clone()] if isinstance(output, Tensor) else []

    with ExitStack() as hooks:
        if layer is None:
            for module in model.modules():
                if isinstance(module, (nn.Linear, _ConvNd)):
                    hooks.enter_context(module.register_forward_pre_hook(keep_input))
        else:
            module = _named_module(model, layer)
            hooks.enter_context(module.register_forward_hook(keep_output))
        logits = model(images)
    if not seen or len(seen[0]) != len(images):
        raise AdvdetectError(
            f"The hidden features of {type(model).__name__} were not found: no "
            f"{layer or 'linear or convolutional layer'} ran that has one row per image; name the "
            "module whose output to use in the parameter layer."
        )
    return seen[0].flatten(1), logits


def _named_module(model: nn.Module, name: str) -> nn.Module:
    """Return a module of the model by its dotted name."""
    modules = dict(model.named_modules())
    if name not in modules:
        raise AdvdetectError(
            f"{type(model).__name__} has no module {name!r}; it has "
            f"{', '.join(key for key in modules if key)}."
        )
    return modules[name]
