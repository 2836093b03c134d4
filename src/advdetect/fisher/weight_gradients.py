"""Choosing how the Gram matrices of weight gradients are computed, and checking the choice."""

import copy
import warnings
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.capture import LayerRecording, UnsupportedStructureError
from advdetect.fisher.gram import Grams
from advdetect.fisher.per_sample import LoopedGradients, VectorizedGradients, weight_gradients
from advdetect.models.guard import check_differentiable


class WeightGradients(Protocol):
    """A forward pass of N images, and the products of its weight gradients.

    Attributes:
        logits: (N, C).
        signature: Equal for forward passes that a check of the method holds for alike.
    """

    logits: Tensor

    @property
    def signature(self) -> tuple[str, ...]:
        """What a check of the method relies on."""

    def parameter_grams(self, seeds: Tensor) -> Grams:
        """Return (N, R, R) float64 Gram matrices for (R, N, C) seeds, by the parameter's name."""


_Method = type[LayerRecording] | type[VectorizedGradients] | type[LoopedGradients]


class _Choice(NamedTuple):
    method: _Method
    signature: tuple[str, ...]


#: Checked choices, so that a model evaluated in many batches is checked and warned about once.
_CHOICES: WeakKeyDictionary[nn.Module, _Choice] = WeakKeyDictionary()


def record_weight_gradients(model: nn.Module, images: Tensor) -> WeightGradients:
    """Run the model and prepare the Gram matrices of its weight gradients.

    The fastest method that agrees with plain autograd on the first two images is used: layer rules,
    then torch.func on the whole model, then a loop. All parameters count, frozen ones too; one
    that has no part in the logits contributes zero.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (N, C, H, W) float, at least one.

    Raises:
        AdvdetectError: The model has no parameters, or no gradient.

    Warns:
        UserWarning: The layer rules do not cover the model; once per model, with the reason.
    """
    known = _CHOICES.get(model)
    if known is not None:
        try:
            recording = known.method(model, images)
        except UnsupportedStructureError:
            pass  # the model has changed since it was checked
        else:
            if recording.signature == known.signature:
                return recording
    return _choose(model, images)


def _choose(model: nn.Module, images: Tensor) -> WeightGradients:
    method: _Method = LoopedGradients
    recording: WeightGradients | None = None
    if next(model.parameters(), None) is None:
        raise AdvdetectError(
            f"The model {type(model).__name__} has no parameters, so there is no Fisher "
            "information of its weights: use a feature of the input instead."
        )
    check_differentiable(model)
    reasons = []
    # In float64, since a batch and its images alone are rounded differently. Of the millions of
    # units of a large network some are within the rounding of float32 of a corner, as of ReLU6, and
    # fall to another side of it, so that right gradients differ by more than a missing part may.
    double, few = copy.deepcopy(model).to(torch.float64), images[:2].to(torch.float64)
    for candidate in (LayerRecording, VectorizedGradients):
        # Whatever goes wrong in a short cut, the loop is right, or raises the error that matters.
        try:
            _check(candidate(double, few), double, few)
            method, recording = candidate, candidate(model, images)
            break
        except Exception as error:
            reasons.append(f"{candidate.description} do not apply: {error}")
    if recording is None:
        recording = LoopedGradients(model, images)
    if reasons:
        warnings.warn(
            f"The weight Fisher information of {type(model).__name__} is computed by "
            f"{method.description}, which is slower ({'; '.join(reasons)}).",
            UserWarning,
            stacklevel=2,
        )
    _CHOICES[model] = _Choice(method, recording.signature)
    return recording


def _check(recording: WeightGradients, model: nn.Module, images: Tensor) -> None:
    """Compare the gradient norm of every parameter with plain autograd, image by image."""
    classes = recording.logits.shape[1]
    # Unequal entries, so that every logit takes part and none of the differences cancels.
    seed = torch.linspace(1, 2, classes).to(recording.logits).view(1, 1, classes)
    grams = recording.parameter_grams(seed.expand(1, len(images), classes))
    names = [name for name, _ in model.named_parameters()]
    for row, image in enumerate(images):
        (gradients,) = weight_gradients(model, image[None], seed)
        exact = torch.stack([g.to(torch.float64).square().sum() for g in gradients])
        zero = exact.new_zeros(())
        found = torch.stack([grams[n][row, 0, 0] if n in grams else zero for n in names])
        wrong = ~torch.isclose(found, exact, rtol=1e-3, atol=1e-6 * float(exact.sum()))
        if wrong.any():
            name = names[int(wrong.nonzero()[0])]
            raise UnsupportedStructureError(f"the gradient of {name} disagrees with autograd")
