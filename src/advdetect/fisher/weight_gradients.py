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
        description: What the method is called where it does not apply.
        signature: Equal for forward passes that a check of the method holds for alike.
    """

    logits: Tensor
    description: str

    @property
    def signature(self) -> tuple[str, ...]:
        """What a check of the method relies on."""

    def parameter_grams(self, seeds: Tensor) -> Grams:
        """Return (N, R, R) float64 Gram matrices for (R, N, C) seeds, by the parameter's name."""

    def slopes(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, C) v·∇_θ z_c and (N,) float64 v·v, v = ∇_θ Σ_c seed_c z_c for (N, C) seeds."""


_Method = type[LayerRecording] | type[VectorizedGradients] | type[LoopedGradients]
#: The fastest first.
_METHODS: tuple[_Method, ...] = (LayerRecording, VectorizedGradients, LoopedGradients)
#: Agreement asked of slopes and the length of v; float32 gives 1e-5, a missing part anything.
_AGREEMENT = 1e-3


class _Choice(NamedTuple):
    method: _Method
    signature: tuple[str, ...]


#: Checked choices, so that a model evaluated in many batches is checked and warned about once.
_CHOICES: WeakKeyDictionary[nn.Module, _Choice] = WeakKeyDictionary()
#: The same for second derivatives, where another method is needed for them.
_SECOND: WeakKeyDictionary[nn.Module, _Choice] = WeakKeyDictionary()


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


def weight_slopes(
    model: nn.Module, images: Tensor, recording: WeightGradients, seed: Tensor
) -> Tensor:
    """Return the derivatives of all logits along the weight gradient of a linear form of them.

    These are second derivatives, of which autograd leaves out silently what it does not have. Each
    time Σ_c seed_c v·∇_θ z_c = v·v is checked, which costs no pass, and a slower method is used
    where it does not hold.

    Args:
        model: Classifier in eval mode.
        images: (N, C, H, W) float.
        recording: Of these images, from `record_weight_gradients`.
        seed: (N, C), v = ∇_θ Σ_c seed_c z_c.

    Returns:
        (N, C) v·∇_θ z_c.

    Raises:
        AdvdetectError: The model cannot be differentiated twice.

    Warns:
        UserWarning: The method of the recording does not apply; once per model.
    """
    known = _SECOND.get(model)
    if known is not None and known.signature == recording.signature:
        recording = known.method(model, images)
    first = _METHODS.index(type(recording))
    for method in _METHODS[first:]:
        try:
            attempt = recording if method is type(recording) else method(model, images)
            slopes, squared_length = attempt.slopes(seed)
        except Exception:
            if method is LoopedGradients:
                raise
            continue
        if _agree(slopes, seed, squared_length):
            if method is not type(recording):
                _SECOND[model] = _Choice(method, recording.signature)
                warnings.warn(
                    f"{recording.description} do not apply to second derivatives of "
                    f"{type(model).__name__}: they are computed by {method.description}, which is "
                    "slower.",
                    UserWarning,
                    stacklevel=2,
                )
            return slopes
    raise AdvdetectError(
        f"The model {type(model).__name__} has an operation whose gradient cannot be "
        "differentiated again: set approximation to none in the weight Fisher information."
    )


def _agree(slopes: Tensor, seed: Tensor, squared_length: Tensor) -> bool:
    """Compare Σ_c seed_c v·∇_θ z_c with v·v; what is not finite is for the caller to see."""
    slopes, seed = slopes.to(torch.float64), seed.to(torch.float64)
    difference = ((slopes * seed).sum(dim=1) - squared_length).abs()
    size = torch.linalg.vector_norm(slopes, dim=1) * torch.linalg.vector_norm(seed, dim=1)
    return not bool((difference > _AGREEMENT * size).any())


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
