"""Derivatives of a model's outputs along a weight direction that each image has for itself.

With v a constant vector in the space of the weights θ, one for each image, the derivative of f(x)
along v is v·∇_θ f(x). Where v is itself a gradient, v = ∇_θ h(x₀), it is a sum over layers of
products of the gradients of f and h at the layers' outputs, so that v is never formed. As a sum of
products it can be differentiated once more: by the image, or by the seed of f, which yields the
derivatives of all logits in one pass.
"""

import copy
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advdetect.fisher.capture import LayerRecording
from advdetect.fisher.gram import LayerCall, layer_grams
from advdetect.fisher.weight_gradients import record_weight_gradients

#: One constant tensor for every part of the weights; None where h does not depend on it.
Direction = list[Tensor | None]

#: Agreement asked of the layer rules and plain autograd, in float64, of which 1e-12 is usual.
_AGREEMENT = 1e-6

#: By model and ``through_images``: what the check relies on, and whether the layer rules passed it.
_CHECKED: WeakKeyDictionary[nn.Module, dict[bool, tuple[tuple[str, ...], bool]]] = (
    WeakKeyDictionary()
)


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


def weight_tangents(
    model: nn.Module, images: Tensor, *, through_images: bool
) -> Iterator[WeightTangents]:
    """Yield forward passes that cover the images in order: one, or one per image.

    All images are in one where the layer rules cover the model and agree with plain autograd on
    the first image; otherwise plain autograd takes one image after the other.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (N, C, H, W) float, at least one.
        through_images: Whether the derivatives along v are to be differentiated by the images.

    Raises:
        AdvdetectError: The model has no parameters.

    Warns:
        UserWarning: The layer rules do not apply; once per model, with the reason.
    """
    if _layer_rules_apply(model, images[:1], through_images):
        yield LayerTangents(model, images, through_images)
        return
    plain = copy.deepcopy(model).requires_grad_(True)
    for image in images:
        yield PlainTangents(plain, image[None])


def _layer_rules_apply(model: nn.Module, image: Tensor, through_images: bool) -> bool:
    """Check the layer rules once per model: what cannot be differentiated twice is left silently.

    torch.func, for one, takes the mean and the variance in a layer norm's gradient as constants.
    """
    recording = record_weight_gradients(model, image)
    if not isinstance(recording, LayerRecording):
        return False
    known = _CHECKED.setdefault(model, {})
    signature, applies = known.get(through_images, (None, False))
    if signature != recording.signature:
        applies = _agree(model, image, through_images)
        known[through_images] = recording.signature, applies
        if not applies:
            warnings.warn(
                f"The layer rules disagree with autograd on second derivatives of "
                f"{type(model).__name__}: it is computed image by image, which is slower.",
                UserWarning,
                stacklevel=3,
            )
    return applies


def _agree(model: nn.Module, image: Tensor, through_images: bool) -> bool:
    """Compare second derivatives by the layer rules with those by plain autograd, in float64."""
    double = copy.deepcopy(model).to(torch.float64).requires_grad_(True)
    image = image.to(torch.float64)
    found, exact = (
        _second_derivative(tangents, through_images)
        for tangents in (LayerTangents(double, image, through_images), PlainTangents(double, image))
    )
    return bool((found - exact).abs().amax() <= _AGREEMENT * exact.abs().amax())


def _second_derivative(tangents: WeightTangents, through_images: bool) -> Tensor:
    """Return the derivative of v·∇_θ f by the image or by the seed of f, for unlike v and f."""
    logits = tangents.logits
    seed = torch.linspace(1, 2, logits.shape[1]).to(logits).expand_as(logits)
    seed = seed.clone().requires_grad_()
    with torch.enable_grad():
        values, others = (seed * logits).sum(dim=1), (seed.detach().square() * logits).sum(dim=1)
    slope = tangents.along(values, tangents.direction(others))
    variable = tangents.images if through_images else seed
    return differentiate(slope, variable)


def differentiate(values: Tensor, variable: Tensor) -> Tensor:
    """Return the gradient of (n,) values, each by its own row of a variable; zero without one."""
    if not values.requires_grad:
        return torch.zeros_like(variable)
    (gradient,) = torch.autograd.grad(
        values.sum(), variable, retain_graph=True, materialize_grads=True
    )
    return gradient


class PlainTangents:
    """The definition by plain autograd, for one image.

    Args:
        model: Classifier in eval mode, all of whose parameters require gradients.
        images: (1, C, H, W) float.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._parameters = list(model.parameters())
        self.images = images.detach().requires_grad_()
        with torch.enable_grad(), _differentiable_twice():
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
            with _differentiable_twice():
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


def _differentiable_twice() -> AbstractContextManager:
    """Do attention by plain products, since fused kernels cannot be differentiated twice."""
    return sdpa_kernel(SDPBackend.MATH)


def _gradients(values: Tensor, places: list, create_graph: bool) -> Direction:
    if not values.requires_grad:
        return [None] * len(places)
    return list(
        torch.autograd.grad(
            values.sum(), places, retain_graph=True, create_graph=create_graph, allow_unused=True
        )
    )
