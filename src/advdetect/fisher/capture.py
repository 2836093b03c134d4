"""Recording a forward pass layer by layer, and the gradients at every layer's output."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from advdetect.fisher.gram import Grams, LayerCall, has_rule, layer_grams
from advdetect.fisher.parameter_uses import ParameterUses
from advdetect.fisher.tangents import FastTangents, differentiable_twice


class UnsupportedStructureError(Exception):
    """A method does not cover a model; the message says which part, and why."""


class _Call(NamedTuple):
    module: nn.Module
    input: Tensor
    shape: torch.Size
    dtype: torch.dtype
    place: GradientEdge


class LayerRecording:
    """A forward pass from whose tensors the products of weight gradients follow.

    Of every layer with parameters the input is kept, and the place of its output in the autograd
    graph. That place, unlike the output tensor, is not moved by an in-place operation after it. A
    layer is a module that has a rule, or what `advdetect.fisher.parameter_uses` finds in another
    one, or else a module as a whole.

    With v a constant vector in the space of the weights θ, one for each image, the derivative of
    f(x) along v is v·∇_θ f(x). Where v is itself a gradient, v = ∇_θ h(x₀), it is a sum over layers
    of products of the gradients of f and h at the layers' outputs, so that v is never formed. As a
    sum of products it can be differentiated once more.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (N, C, H, W) float.

    Raises:
        UnsupportedStructureError: A parameter is not used in the way that the layer rules assume.
    """

    description = "the layer rules"

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        owners = _parameter_owners(model)
        self._names = {parameter: name for name, parameter in model.named_parameters()}
        self._calls: list[_Call] = []
        others = [module for module in owners if not has_rule(module)]
        watched = [parameter for module in others for parameter in _own(module)]
        uses = ParameterUses(watched, len(images), self._keep)
        problems: dict[nn.Module, str] = {}

        def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
            problem = _problem(args, kwargs, output, len(images))
            if problem is None:
                return self._keep(module, args[0], output)
            problems[module] = problem
            return output

        wholes = [m for m in owners if len(_own(m)) == len(list(m.parameters()))]
        hooks = [module.register_forward_hook(keep, with_kwargs=True) for module in wholes]
        # Gradients flow from the images on, so that frozen weights are no obstacle; theirs are made
        # by the rules.
        self.images = images.detach().requires_grad_()
        try:
            with torch.enable_grad(), differentiable_twice(), FastTangents(), uses:
                self.logits: Tensor = model(self.images.clone())  # a first layer may work in place
        finally:
            for hook in hooks:
                hook.remove()
        in_parts = {module for module in others if uses.recorded.issuperset(_own(module))}
        for module, label in owners.items():
            if module in problems and module not in in_parts:
                raise UnsupportedStructureError(f"{label} {problems[module]}")
            if module not in wholes and not uses.otherwise.isdisjoint(_own(module)):
                raise UnsupportedStructureError(f"{label} has parameters beside those of its parts")
        # Of a module with both the calls of its functions count, if they are all that there is.
        at_once = {module for module in wholes if module not in in_parts}
        of_parts = uses.recorded.difference(*map(_own, at_once))
        self._calls = [
            call
            for call in self._calls
            if call.module in at_once
            or (call.module not in owners and of_parts.issuperset(_own(call.module)))
        ]

    def _keep(self, module: nn.Module, values: Tensor, output: Tensor) -> Tensor:
        """Record a call of a layer and return the output to go on with."""
        if not output.requires_grad:
            output = output.detach().requires_grad_()
        elif output._is_view():
            output = output.clone()  # in-place operations do move the place of a view
        place = get_gradient_edge(output)
        self._calls.append(_Call(module, values, output.shape, output.dtype, place))
        return output

    @property
    def signature(self) -> tuple[str, ...]:
        """Names and types of the layers called, in order: what a check of the model relies on."""
        modules = [call.module for call in self._calls]
        return tuple(f"{self._names[_own(module)[0]]}:{type(module)}" for module in modules)

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
            calls.setdefault(call.module, []).append(LayerCall(call.input.detach(), gradients))
        return {
            self._names[module.get_parameter(name)]: matrix
            for module, part in calls.items()
            for name, matrix in layer_grams(module, part).items()
        }

    def slopes(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the derivatives of all logits along the weight gradient of a linear form of them.

        Args:
            seed: (N, C), v = ∇_θ Σ_c seed_c z_c.

        Returns:
            (N, C) float v·∇_θ z_c, and (N,) float64 v·v.
        """
        with torch.enable_grad():
            seed = seed.detach().requires_grad_()
            gradients = self._differentiable_gradients((seed * self.logits).sum(dim=1))
            direction = [None if part is None else part.detach() for part in gradients]
            squared_length = self._products(gradients, direction, through_inputs=False)
        # Linear in the seed of the one side, so that its gradient by it has all slopes.
        return differentiate(squared_length, seed), squared_length.detach()

    def _differentiable_gradients(self, values: Tensor) -> list[Tensor | None]:
        """Return the gradients of (N,) values at the output of every call, as functions."""
        return gradients_of(values, [call.place for call in self._calls], create_graph=True)

    def _products(
        self,
        gradients: Sequence[Tensor | None],
        direction: Sequence[Tensor | None],
        through_inputs: bool,
    ) -> Tensor:
        """Return (N,) float64 v·∇_θ f from the gradients of f and of h at the outputs, v = ∇_θ h.

        Args:
            gradients: Of f.
            direction: Of h, as constants.
            through_inputs: Whether ∇_θ f is to vary with the inputs of the layers, too.
        """
        calls: dict[nn.Module, list[LayerCall]] = {}
        for call, gradient, part in zip(self._calls, gradients, direction, strict=True):
            zero = torch.zeros(call.shape, dtype=call.dtype, device=call.input.device)
            gradient = zero if gradient is None else gradient
            part = zero if part is None else part
            constant, pairs = call.input.detach(), calls.setdefault(call.module, [])
            if not through_inputs:
                pairs.append(LayerCall(constant, torch.stack([gradient, part], dim=1)))
                continue
            # f and h meet the layer at the same input, but only that of f moves: as two calls.
            pairs.append(LayerCall(call.input, torch.stack([gradient, zero], dim=1)))
            pairs.append(LayerCall(constant, torch.stack([zero, part], dim=1)))
        # Beside the diagonals of the Gram matrices are the products of f and h.
        products = [
            matrix[:, 0, 1]
            for module, pairs in calls.items()
            for matrix in layer_grams(module, pairs).values()
        ]
        return sum(products, start=torch.zeros_like(self.logits[:, 0], dtype=torch.float64))

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


def differentiate(values: Tensor, variable: Tensor) -> Tensor:
    """Return the gradient of (n,) values, each by its own row of a variable; zero without one."""
    (gradient,) = gradients_of(values, [variable], create_graph=False)
    return torch.zeros_like(variable) if gradient is None else gradient


def gradients_of(values: Tensor, places: list, create_graph: bool) -> list[Tensor | None]:
    """Return the gradients of (n,) values, each by its own row of tensors or places of a graph."""
    if not values.requires_grad:
        return [None] * len(places)
    with torch.enable_grad():
        total = values.sum()
    return list(
        torch.autograd.grad(
            total, places, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    )


def _own(module: nn.Module) -> list[nn.Parameter]:
    return list(module.parameters(recurse=False))


def _problem(args: tuple, kwargs: dict[str, Any], output: Any, count: int) -> str | None:
    """Say why a call of a module is no map from one tensor of so many images to another one."""
    if len(args) != 1 or kwargs or not isinstance(args[0], Tensor):
        return "takes more than one tensor"
    if not isinstance(output, Tensor):
        return "returns more than one tensor"
    if len(args[0]) != count or len(output) != count:
        return "works on more than images"
    return None


def _parameter_owners(model: nn.Module) -> dict[nn.Module, str]:
    """Return the modules that have parameters of their own, with their names."""
    owners: dict[nn.Module, str] = {}
    seen: dict[Tensor, str] = {}
    for name, module in model.named_modules():
        label = name or type(module).__name__
        for parameter in _own(module):
            if parameter in seen:
                raise UnsupportedStructureError(f"{label} and {seen[parameter]} share a parameter")
            seen[parameter] = label
            owners[module] = label
    return owners
