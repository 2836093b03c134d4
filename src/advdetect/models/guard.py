"""Checks that a classifier is what everything here takes it for, whoever wrote it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError, explain_failure
from advdetect.inference import check_classes, check_finite

#: Images that a model is tried on.
TRIED = 16
#: How far answers may differ that ought to be the same, in parts of the largest logit: a row of a
#: product of matrices depends in its last digits on how many rows there are, on a GPU in more.
ROUNDING = {"cpu": 1e-4, "cuda": 1e-2}
# How far the sums of rows of probabilities may differ, in parts of them: 16-bit floats.
_SUMS = 1e-2


def guard(model: nn.Module) -> nn.Module:
    """Make a model work on copies of its inputs, and refuse what is no tensor of logits.

    A ``forward`` that writes into its input would otherwise change the images that an attack or a
    feature goes on with. Both hold at every call of the model; its values are looked at by
    `check_answers` and by `inference.predict_logits`.

    Args:
        model: Takes (N, C, H, W) images, must return (N, classes) logits; it is changed.

    Returns:
        The model.
    """
    model.register_forward_pre_hook(_copied)
    model.register_forward_hook(_checked)
    return model


def _copied(_model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in inputs)


def _checked(model: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor | None:
    if not isinstance(output, Tensor):
        raise AdvdetectError(
            f"{_the(model)} returns a {type(output).__name__}: it must return one tensor of "
            f"logits (N, classes); wrap it in a module that picks them."
        )
    images = inputs[0] if inputs else None
    if not isinstance(images, Tensor):
        return None
    if output.ndim != 2 or len(output) != len(images):
        raise AdvdetectError(
            f"{_the(model)} returned a tensor of shape {tuple(output.shape)} for {len(images)} "
            f"images; it must return logits of shape (N, classes)."
        )
    is_mixed = torch.is_autocast_enabled(images.device.type)
    if output.dtype != images.dtype and not is_mixed:
        raise AdvdetectError(
            f"{_the(model)} returns {output.dtype} for {images.dtype} images: gradients need the "
            f"digits of the images; convert its weights or its answers to that type."
        )
    if torch.is_grad_enabled() and images.requires_grad:
        check_differentiable(model)
    return output.to(images.dtype) if is_mixed else None  # which a loss may ask for


def labels_only(model: nn.Module) -> bool:
    """Return whether a model says of itself that it answers labels only, without a gradient."""
    return bool(getattr(model, "labels_only", False))


def check_differentiable(model: nn.Module) -> None:
    """Refuse a model that answers labels only, where a gradient is asked for.

    Raises:
        AdvdetectError: It does.
    """
    if labels_only(model):
        raise AdvdetectError(
            f"{_the(model)} answers labels only and has no gradient: craft the attack on another "
            f"model (attack@model), or remove the feature that needs one."
        )


def check_answers(model: nn.Module, images: Tensor, classes: int) -> None:
    """Check that a model answers as a classifier does that can be attacked.

    One logit per class, finite, no probabilities, with a gradient; the same for an image whether it
    is asked for once or twice, alone or among others. What says ``labels_only`` may have logits
    that look like probabilities, and no gradient.

    Args:
        model: In eval mode, guarded by `guard`.
        images: (N, C, H, W) float in [0, 1] on the model's device, N at least 1.
        classes: How many classes the data has.

    Raises:
        AdvdetectError: It does not.
    """
    with unchanged(model, f"{_the(model)} called in eval mode"):
        logits = _answers(model, images)
    check_classes(logits, classes)
    check_finite(logits)
    if not labels_only(model) and looks_like_probabilities(logits):
        raise AdvdetectError(
            f"{_the(model)} returns probabilities: it must return logits, what goes into the "
            f"softmax (or sigmoid); leave its last layer out."
        )
    tolerance = ROUNDING[images.device.type] * logits.abs().max().item()
    # On a CPU equal work has equal digits.
    again = (_answers(model, images) - logits).abs().max().item()
    if again > (0.0 if images.device.type == "cpu" else tolerance):
        raise AdvdetectError(
            f"{_the(model)} is random: asked twice for the same images in eval mode, it returned "
            f"logits that differ by {again:.2g}. Its dropout or noise must follow self.training."
        )
    alone = torch.cat([_answers(model, image) for image in images.split(1)])
    if (difference := (alone - logits).abs().max().item()) > tolerance:
        raise AdvdetectError(
            f"{_the(model)} returns other logits for an image alone than for the same image in a "
            f"batch of {len(images)} (they differ by {difference:.2g}): in eval mode each image "
            f"must be classified by itself; a batch norm needs its running statistics."
        )
    if not labels_only(model):
        _check_gradient(model, images[:1])


def check_weights(model: nn.Module) -> None:
    """Check that all weights are finite numbers.

    Raises:
        AdvdetectError: A parameter or buffer has others.
    """
    for name, values in model.state_dict().items():
        if values.is_floating_point() and not values.isfinite().all():
            raise AdvdetectError(
                f"{_the(model)} has weights that are no finite numbers ({name}): its training has "
                f"diverged (take a lower model.training.learning_rate), or the file is damaged."
            )


def looks_like_probabilities(logits: Tensor) -> bool:
    """Return whether (N, classes) answers are what a softmax or a sigmoid makes of logits.

    Those of a softmax are not negative and have one sum, 1 or 100; those of a sigmoid lie in
    [0, 1]. Logits of several images do neither, but for a model whose last layer is zero.
    """
    if len(logits) < 2 or logits.min() < 0 or logits.max() == 0:
        return False
    sums = logits.sum(1)
    one_sum = bool((sums.max() - sums.min() <= _SUMS * sums.max()).item())
    constant = bool((logits == logits[:1]).all())
    return (one_sum and not constant) or bool((logits.max() <= 1).item())


@contextmanager
def unchanged(model: nn.Module, who: str) -> Iterator[None]:
    """Check that a block, such as a user's attack, leaves a model in eval mode as it is.

    Args:
        model: The model.
        who: Whose the block is, as the error begins.

    Raises:
        AdvdetectError: The model is in training mode afterwards, or has other weights.
    """
    before = {name: values.clone() for name, values in _tensors(model)}
    yield
    if model.training:
        raise AdvdetectError(f"{who} left the model in training mode: call model.eval().")
    after = dict(_tensors(model))
    changed = [
        name
        for name in before.keys() | after.keys()
        if not _same(before.get(name), after.get(name))
    ]
    if changed:
        raise AdvdetectError(
            f"{who} changed weights of the model ({', '.join(sorted(changed)[:3])}): what "
            f"changes them must work on a copy (copy.deepcopy)."
        )


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (name, values.detach())
        for name, values in chain(model.named_parameters(), model.named_buffers())
    ]


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None or first.device != second.device:
        return False
    return torch.equal(first, second)


def _answers(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return _called(model, images)


def _check_gradient(model: nn.Module, image: Tensor) -> None:
    image = image.clone().requires_grad_()
    with torch.enable_grad():
        logits = _called(model, image)
        gradient: Sequence[Tensor | None] = [None]
        if logits.requires_grad:
            gradient = torch.autograd.grad(logits.sum(), image, allow_unused=True)
    if gradient[0] is None:
        raise AdvdetectError(
            f"{_the(model)} has no gradient: its logits do not depend on the images by "
            f"operations that autograd follows (no detach, no_grad, NumPy or integers in forward)."
        )


def _called(model: nn.Module, images: Tensor) -> Tensor:
    with explain_failure(
        f"{_the(model)}, called with images of shape {tuple(images.shape)} and type {images.dtype},"
    ):
        return model(images)


def _the(model: nn.Module) -> str:
    return f"The model {type(model).__name__}"
