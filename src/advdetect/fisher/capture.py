"""Recording a forward pass layer by layer, and the gradients at every layer's output."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from advdetect.fisher.gram import Grams, LayerCall, layer_grams


class UnsupportedStructureError(Exception):
    """A method does not cover a model; the message says which part, and why."""


class _Call(NamedTuple):
    module: nn.Module
    input: Tensor
    shape: torch.Size
    dtype: torch.dtype
    place: GradientEdge


class LayerRecording:
    """A forward pass from whose tensors the Gram matrices of weight gradients follow.

    Of every module with parameters the input is kept, and the place of its output in the autograd
    graph. That place, unlike the output tensor, is not moved by an in-place operation after it.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (N, C, H, W) float.

    Raises:
        UnsupportedStructureError: A parameter is not used in the way that the layer rules assume.
    """

    description = "the layer rules"

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._owners = _parameter_owners(model)
        self._calls: list[_Call] = []

        def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Tensor:
            if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
                raise UnsupportedStructureError(f"{self._label(module)} takes more than one tensor")
            if not isinstance(output, Tensor):
                raise UnsupportedStructureError(
                    f"{self._label(module)} returns more than one tensor"
                )
            if len(args[0]) != len(images) or len(output) != len(images):
                raise UnsupportedStructureError(f"{self._label(module)} works on more than images")
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            elif output._is_view():
                output = output.clone()  # in-place operations do move the place of a view
            place = get_gradient_edge(output)
            call = _Call(module, args[0].detach(), output.shape, output.dtype, place)
            self._calls.append(call)
            return output

        hooks = [module.register_forward_hook(keep, with_kwargs=True) for module in self._owners]
        try:
            with torch.enable_grad():
                # Gradients flow from the images on, so that frozen weights are no obstacle.
                self.logits: Tensor = model(images.detach().requires_grad_().clone())
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def signature(self) -> tuple[str, ...]:
        """Names and types of the modules called, in order: what a check of the model relies on."""
        return tuple(f"{self._owners[module]}:{type(module)}" for module, *_ in self._calls)

    def parameter_grams(self, seeds: Tensor) -> Grams:
        """Return the Gram matrices of the weight gradients of R linear forms of the logits.

        Args:
            seeds: (R, N, C) gradients at the logits.

        Returns:
            (N, R, R) float64 by the parameter's full name; a parameter without part in the logits
            is left out or zero.
        """
        calls: dict[nn.Module, list[LayerCall]] = {}
        for call, gradients in zip(self._calls, self._gradients(seeds), strict=True):
            calls.setdefault(call.module, []).append(LayerCall(call.input, gradients))
        return {
            f"{self._owners[module]}.{name}".lstrip("."): matrix
            for module, part in calls.items()
            for name, matrix in layer_grams(module, part).items()
        }

    def _gradients(self, seeds: Tensor) -> list[Tensor]:
        """Return the (N, R, …) gradients at the output of every call."""
        places = [call.place for call in self._calls]
        stacks = [
            seeds.new_empty((len(call.input), len(seeds), *call.shape[1:]), dtype=call.dtype)
            for call in self._calls
        ]
        if not self.logits.requires_grad:
            return [stack.zero_() for stack in stacks]
        for row, seed in enumerate(seeds):
            gradients = torch.autograd.grad(
                self.logits, places, seed, retain_graph=True, allow_unused=True
            )
            # Written at once, while in the cache, and so that only one seed is held twice.
            for stack, gradient in zip(stacks, gradients, strict=True):
                stack[:, row] = 0 if gradient is None else gradient
        return stacks

    def _label(self, module: nn.Module) -> str:
        return self._owners[module] or type(module).__name__


def _parameter_owners(model: nn.Module) -> dict[nn.Module, str]:
    """Return the modules that have parameters of their own, with their names."""
    owners: dict[nn.Module, str] = {}
    seen: dict[Tensor, str] = {}
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        label = name or type(module).__name__
        if own and len(own) < len(list(module.parameters())):
            raise UnsupportedStructureError(f"{label} has parameters beside those of its parts")
        for parameter in own:
            if parameter in seen:
                raise UnsupportedStructureError(f"{label} and {seen[parameter]} share a parameter")
            seen[parameter] = label
        if own:
            owners[module] = name
    return owners
