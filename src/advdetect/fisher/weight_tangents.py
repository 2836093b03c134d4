"""Derivatives of a model's outputs along a weight direction that each image has for itself.

With v a constant vector in the space of the weights θ, one for each image, the derivative of f(x)
along v is v·∇_θ f(x). Where v is itself a gradient, v = ∇_θ h(x₀), it is a sum over layers of
products of the gradients of f and h at the layers' outputs, so that v is never formed. As a sum of
products it can be differentiated once more: by the image, or by the seed of f, which yields the
derivatives of all logits in one pass.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from advdetect.fisher.capture import LayerRecording
from advdetect.fisher.gram import LayerCall, layer_grams
from advdetect.fisher.per_image import (
    per_image_gradients,
    per_image_products,
    without_hints,
)
from advdetect.fisher.tangents import ExplicitLayerNorm, differentiable_twice

#: What `along` needs of v: one tensor for every part of it, or None where h does not depend on it.
Direction = list[Tensor | None]


class WeightTangents(Protocol):
    """A forward pass of n images.

    Attributes:
        images: (n, C, H, W), a leaf of the graph.
        logits: (n, classes), differentiable by the images.
    """

    images: Tensor
    logits: Tensor

    def direction(self, values: Tensor) -> Direction:
        """Return v = ∇_θ h for (n,) values h of the images, from the logits, as constants."""

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (n,) v·∇_θ f for (n,) values f of the images, differentiable once more."""


def differentiate(values: Tensor, variable: Tensor) -> Tensor:
    """Return the gradient of (n,) values, each by its own row of a variable; zero without one."""
    if not values.requires_grad:
        return torch.zeros_like(variable)
    with torch.enable_grad():
        total = values.sum()
    (gradient,) = torch.autograd.grad(total, variable, retain_graph=True, materialize_grads=True)
    return gradient


class PlainTangents:
    """The definition by plain autograd, for one image.

    Args:
        model: Classifier in eval mode, all of whose parameters require gradients.
        images: (1, C, H, W) float.
        through_images: As of the others; here `along` is differentiable by the images anyhow.
    """

    description = "plain autograd, image by image"

    def __init__(self, model: nn.Module, images: Tensor, through_images: bool) -> None:
        self._parameters = list(model.parameters())
        self.images = images.detach().requires_grad_()
        with torch.enable_grad(), differentiable_twice():
            self.logits: Tensor = model(self.images.clone())  # a first layer may work in place

    def direction(self, values: Tensor) -> Direction:
        """Return v = ∇_θ h for the (1,) value h of the image, as constants."""
        return _gradients(values, self._parameters, create_graph=False)

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (1,) v·∇_θ f for the (1,) value f of the image, differentiable once more."""
        with torch.enable_grad():
            gradients = _gradients(values, self._parameters, create_graph=True)
            products = [
                (gradient * part).sum()
                for gradient, part in zip(gradients, direction, strict=True)
                if gradient is not None and part is not None
            ]
            return sum(products, start=values.new_zeros(1, dtype=torch.float64))


class VectorizedTangents:
    """The same by torch.func, for any number of images at once and whatever their model is made of.

    v is formed for every image, and with it J v, J the Jacobian of the logits by the weights, in
    forward mode: v·∇_θ f is then the product of J v with the gradient of f by the logits.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (n, C, H, W) float.
        through_images: Whether `along` is to be differentiable by the images.
    """

    description = "torch.func for the whole model"

    def __init__(self, model: nn.Module, images: Tensor, through_images: bool) -> None:
        self._model = model
        self.images = images.detach().requires_grad_()
        self._inputs = self.images if through_images else self.images.detach()
        with torch.enable_grad(), differentiable_twice():
            self.logits: Tensor = model(self.images.clone())  # a first layer may work in place

    def direction(self, values: Tensor) -> Direction:
        """Return J v with v = ∇_θ h, as a constant, for (n,) values h of the images."""
        (seed,) = _gradients(values, [self.logits], create_graph=False)
        if seed is None:
            return [None]
        with torch.enable_grad(), differentiable_twice(), ExplicitLayerNorm(), without_hints():
            rows = per_image_gradients(self._model, self.images.detach(), seed[:, None])
            v = {name: row[:, 0].detach() for name, row in rows.items()}
            return [per_image_products(self._model, self._inputs, v)]

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (n,) float64 v·∇_θ f for (n,) values f, differentiable once more."""
        (slopes,) = direction
        with torch.enable_grad():
            (seed,) = _gradients(values, [self.logits], create_graph=True)
            if seed is None or slopes is None:
                return values.new_zeros(len(values), dtype=torch.float64)
            return (seed * slopes).to(torch.float64).sum(dim=1)


class LayerTangents(LayerRecording):
    """The same by the layer rules, for any number of images at once.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (n, C, H, W) float.
        through_images: Whether `along` is to be differentiable by the images.

    Raises:
        UnsupportedStructureError: A parameter is not used in the way that the layer rules assume.
    """

    def __init__(self, model: nn.Module, images: Tensor, through_images: bool) -> None:
        self.images = images.detach().requires_grad_()
        inputs: list[Tensor] = []

        def keep(module: nn.Module, args: tuple) -> None:
            inputs.append(args[0])

        def start(module: nn.Module, args: tuple) -> tuple:
            return (self.images.clone(),)  # a first layer may work in place

        layers = [m for m in model.modules() if next(m.parameters(recurse=False), None) is not None]
        hooks = [model.register_forward_pre_hook(start)]
        hooks += [layer.register_forward_pre_hook(keep) for layer in layers]
        try:
            with differentiable_twice():
                super().__init__(model, images)
        finally:
            for hook in hooks:
                hook.remove()
        self._constants = [call.input for call in self._calls]
        self._inputs = inputs if through_images else self._constants

    def direction(self, values: Tensor) -> Direction:
        """Return v = ∇_θ h for (n,) values h as the gradients at the layers' outputs."""
        return _gradients(values, [call.place for call in self._calls], create_graph=False)

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (n,) float64 v·∇_θ f for (n,) values f, differentiable once more."""
        with torch.enable_grad():
            places = [call.place for call in self._calls]
            gradients = _gradients(values, places, create_graph=True)
            calls: dict[nn.Module, list[LayerCall]] = {}
            for index, (gradient, part) in enumerate(zip(gradients, direction, strict=True)):
                pair = self._pair(index, gradient, part)
                calls.setdefault(self._calls[index].module, []).extend(pair)
            products = [
                matrix[:, 0, 1]
                for module, pairs in calls.items()
                for matrix in layer_grams(module, pairs).values()
            ]
            return sum(products, start=values.new_zeros(len(values), dtype=torch.float64))

    def _pair(self, index: int, gradient: Tensor | None, part: Tensor | None) -> list[LayerCall]:
        """Return calls whose Gram matrix has the product of f and h beside its diagonal."""
        call = self._calls[index]
        zero = torch.zeros(call.shape, dtype=call.dtype, device=call.input.device)
        gradient = zero if gradient is None else gradient
        part = zero if part is None else part
        varying, constant = self._inputs[index], self._constants[index]
        if varying is constant:
            return [LayerCall(constant, torch.stack([gradient, part], dim=1))]
        # f and h meet the layer at the same input, but only that of f moves: as two calls.
        return [
            LayerCall(varying, torch.stack([gradient, zero], dim=1)),
            LayerCall(constant, torch.stack([zero, part], dim=1)),
        ]


def _gradients(values: Tensor, places: list, create_graph: bool) -> Direction:
    if not values.requires_grad:
        return [None] * len(places)
    with torch.enable_grad():
        total = values.sum()
    return list(
        torch.autograd.grad(
            total, places, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    )
