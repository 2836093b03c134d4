"""Derivatives of a model's outputs along a weight direction that each image has for itself.

With v = ∇_θ h(x₀) a constant vector in the space of the weights θ, one for each image, the
derivative of f(x) along v is v·∇_θ f(x), which is differentiated once more, by the image.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from advdetect.fisher.capture import LayerRecording, gradients_of
from advdetect.fisher.per_image import gradients_and_slopes
from advdetect.fisher.tangents import differentiable_twice

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


class PlainTangents:
    """The definition by plain autograd, for one image.

    Args:
        model: Classifier in eval mode, all of whose parameters require gradients.
        images: (1, C, H, W) float.
    """

    description = "plain autograd, image by image"

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._parameters = list(model.parameters())
        self.images = images.detach().requires_grad_()
        with torch.enable_grad(), differentiable_twice():
            self.logits: Tensor = model(self.images.clone())  # a first layer may work in place

    def direction(self, values: Tensor) -> Direction:
        """Return v = ∇_θ h for the (1,) value h of the image, as constants."""
        return gradients_of(values, self._parameters, create_graph=False)

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (1,) v·∇_θ f for the (1,) value f of the image, differentiable once more."""
        with torch.enable_grad():
            gradients = gradients_of(values, self._parameters, create_graph=True)
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
    """

    description = "torch.func for the whole model"

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model = model
        self.images = images.detach().requires_grad_()
        with torch.enable_grad(), differentiable_twice():
            self.logits: Tensor = model(self.images.clone())  # a first layer may work in place

    def direction(self, values: Tensor) -> Direction:
        """Return J v with v = ∇_θ h, as a constant, for (n,) values h of the images."""
        (seed,) = gradients_of(values, [self.logits], create_graph=False)
        if seed is None:
            return [None]
        with torch.enable_grad():
            return [gradients_and_slopes(self._model, self.images, seed)[1]]

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (n,) float64 v·∇_θ f for (n,) values f, differentiable once more."""
        (slopes,) = direction
        with torch.enable_grad():
            (seed,) = gradients_of(values, [self.logits], create_graph=True)
            if seed is None or slopes is None:
                return values.new_zeros(len(values), dtype=torch.float64)
            return (seed * slopes).to(torch.float64).sum(dim=1)


class LayerTangents(LayerRecording):
    """The same by the layer rules, for any number of images at once."""

    def direction(self, values: Tensor) -> Direction:
        """Return v = ∇_θ h for (n,) values h as the gradients at the layers' outputs."""
        return gradients_of(values, [call.place for call in self._calls], create_graph=False)

    def along(self, values: Tensor, direction: Direction) -> Tensor:
        """Return (n,) float64 v·∇_θ f for (n,) values f, differentiable once more."""
        with torch.enable_grad():
            gradients = self._differentiable_gradients(values)
            return self._products(gradients, direction, through_inputs=True)
