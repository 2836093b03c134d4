"""Choosing how slopes along weight directions are differentiated by images, and checking it."""

import copy
import warnings
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from advdetect.fisher.capture import LayerRecording, differentiate
from advdetect.fisher.per_sample import GRADIENT_ENTRIES
from advdetect.fisher.weight_gradients import record_weight_gradients
from advdetect.fisher.weight_tangents import (
    LayerTangents,
    PlainTangents,
    VectorizedTangents,
    WeightTangents,
)
from advdetect.inference import batch_slices

#: Agreement asked of a method and plain autograd, in float64, of which 1e-12 is usual.
_AGREEMENT = 1e-6

_Method = type[LayerTangents] | type[VectorizedTangents] | type[PlainTangents]

#: By model: what the check relies on, and the method that passed it.
_CHOICES: WeakKeyDictionary[nn.Module, tuple[tuple[str, ...], _Method]] = WeakKeyDictionary()


def weight_tangents(model: nn.Module, images: Tensor) -> Iterator[WeightTangents]:
    """Yield forward passes that cover the images in order.

    The fastest method that agrees with plain autograd on the first image is used: the layer rules
    for all images at once, then torch.func on the whole model for as many as their gradients leave
    room for, then plain autograd for one image after the other.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (N, C, H, W) float, at least one.

    Raises:
        AdvdetectError: The model has no parameters.

    Warns:
        UserWarning: The layer rules do not apply; once per model, with the reason.
    """
    method = _method(model, images[:1])
    if method is PlainTangents:
        plain = copy.deepcopy(model).requires_grad_(True)
        for image in images:
            yield PlainTangents(plain, image[None])
        return
    size = sum(parameter.numel() for parameter in model.parameters())
    at_once = max(1, GRADIENT_ENTRIES // size) if method is VectorizedTangents else len(images)
    for rows in batch_slices(len(images), at_once):
        yield method(model, images[rows])


def _method(model: nn.Module, image: Tensor) -> _Method:
    """Choose once per model: what cannot be differentiated twice is left out silently."""
    recording = record_weight_gradients(model, image)
    known = _CHOICES.get(model)
    if known is not None and known[0] == recording.signature:
        return known[1]
    covered = isinstance(recording, LayerRecording)
    candidates = (LayerTangents, VectorizedTangents) if covered else (VectorizedTangents,)
    double = copy.deepcopy(model).to(torch.float64).requires_grad_(True)
    agreeing = (m for m in candidates if _agrees(m, double, image))
    method: _Method = next(agreeing, PlainTangents)
    _CHOICES[model] = recording.signature, method
    if covered and method is not LayerTangents:
        warnings.warn(
            f"The layer rules disagree with autograd on second derivatives of "
            f"{type(model).__name__}: they are computed by {method.description}, which is slower.",
            UserWarning,
            stacklevel=4,
        )
    return method


def _agrees(method: _Method, double: nn.Module, image: Tensor) -> bool:
    """Compare second derivatives by a method with those by plain autograd, in float64."""
    image = image.to(torch.float64)
    exact = _second_derivative(PlainTangents(double, image))
    # Whatever goes wrong in a short cut, plain autograd is right, or raises the error that matters.
    try:
        found = _second_derivative(method(double, image))
    except Exception:
        return False
    return bool((found - exact).abs().amax() <= _AGREEMENT * exact.abs().amax())


def _second_derivative(tangents: WeightTangents) -> Tensor:
    """Return the derivative of v·∇_θ f by the image, for unlike v and f."""
    logits = tangents.logits
    seed = torch.linspace(1, 2, logits.shape[1]).to(logits)
    with torch.enable_grad():
        values, others = (seed * logits).sum(dim=1), (seed.square() * logits).sum(dim=1)
    slope = tangents.along(values, tangents.direction(others))
    return differentiate(slope, tangents.images)
