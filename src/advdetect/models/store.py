"""Building a model from its specification, and keeping it in one safetensors file."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError, explain_failure, one_line
from advdetect.identity import canonical_json
from advdetect.imports import locate
from advdetect.inference import batch_slices, to_float
from advdetect.io import read_tensors, write_tensors
from advdetect.models.guard import guard
from advdetect.models.layout import placed
from advdetect.requirements.subsets import check_training_images
from advdetect.requirements.training import FROM_THE_DATA, moments_from_the_data


def resolve_arguments(arguments: Mapping[str, Any], train: ImageSplit) -> dict[str, Any]:
    """Replace the arguments that are ``auto`` by what the training images say.

    Known are ``num_classes``, ``in_channels``, ``image_size`` (the height), and ``mean`` and
    ``std`` of each channel of the images in [0, 1].

    Raises:
        AdvdetectError: Another argument is ``auto``, or there are no images to say what it is.
    """
    known: dict[str, Any] = {
        "num_classes": len(train.class_names),
        "in_channels": train.images.shape[1],
        "image_size": train.images.shape[2],
    }
    if names := moments_from_the_data(arguments):
        what = f"model.arguments.{names[0]}=auto is what they say"
        check_training_images(len(train), what, "give the numbers")
        known |= _moments(train.images)
    resolved = dict(arguments)
    for name, value in arguments.items():
        if value == FROM_THE_DATA:
            if name not in known:
                raise AdvdetectError(
                    f"model.arguments.{name}=auto is not known; 'auto' works for "
                    f"{', '.join(('num_classes', 'in_channels', 'image_size', 'mean', 'std'))}."
                )
            resolved[name] = known[name]
    return resolved


def _moments(images: Tensor) -> dict[str, list[float]]:
    """Return mean and deviation of each channel of (N, C, H, W) uint8 images in [0, 1]."""
    # Of 8-bit pixels from their histogram: exact, and no copy of the split.
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for rows in batch_slices(len(images), 256):
        for channel, pixels in enumerate(images[rows].transpose(0, 1)):
            counts[channel] += torch.bincount(pixels.flatten().long(), minlength=256)
    shares = counts.double() / counts.sum(1, keepdim=True)
    values = to_float(torch.arange(256, dtype=torch.uint8)).double()
    mean = shares @ values
    deviation = (shares @ values**2 - mean**2).clamp_min(1e-8).sqrt()
    return {
        name: [round(value, 4) for value in moment.tolist()]
        for name, moment in (("mean", mean), ("std", deviation))
    }


def build_model(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make the model that a specification names, in eval mode.

    Args:
        target: Import path of a class or function that returns a ``torch.nn.Module``.
        arguments: Its keyword arguments.

    Raises:
        AdvdetectError: The call fails or returns something else, or the model has no parameters.
    """
    make = locate(target)
    if not callable(make):
        raise AdvdetectError(f"model: {target} is no class or function that returns a model.")
    try:
        inspect.signature(make).bind(**arguments)
    except TypeError as error:
        raise AdvdetectError(f"model: {target} does not take these arguments ({error}).") from error
    except ValueError:  # it has no signature; calling it tells
        pass
    with explain_failure(f"model: {target}"):
        model = make(**arguments)
    if not isinstance(model, nn.Module):
        raise AdvdetectError(
            f"model: {target} returns {type(model).__name__}, not a torch.nn.Module."
        )
    parameters = list(model.parameters())
    if not parameters:
        raise AdvdetectError(f"model: {target} has no parameters: there is nothing to train.")
    if any(is_lazy(parameter) for parameter in parameters):
        raise AdvdetectError(
            f"model: {target} has layers whose size is not known (nn.Lazy…): give their sizes."
        )
    return guard(model.eval())


def write_model(
    path: str | Path,
    model: nn.Module,
    target: str,
    arguments: Mapping[str, Any],
    provenance: Mapping[str, Any],
    *,
    channels_last: bool = False,
) -> None:
    """Write the weights, and what is needed to build the model again, to one file.

    Args:
        path: The file.
        model: The model.
        target: Import path of what it was made by.
        arguments: What that was called with.
        provenance: What else the file says of itself.
        channels_last: Whether it may have the channels of its weights innermost, see
            `advdetect.models.layout`.
    """
    recipe = {"target": target, "arguments": dict(arguments), "channels_last": channels_last}
    # Cloned, since safetensors refuses tensors that share memory (tied weights).
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    write_tensors(path, state, {**provenance, "model": recipe})


def read_model(path: str | Path, spec: Mapping[str, Any], device: torch.device) -> nn.Module:
    """Read a model that `write_model` wrote: on the device, in eval mode, weights frozen.

    It is built from the specification. What the file says of itself is compared with that and never
    called, so a file from someone else cannot run anything. On a CPU a model that may have the
    channels of its weights innermost has them so.

    Args:
        path: The file.
        spec: The model's specification: ``_target_`` and ``arguments``; what is ``auto`` there is
            taken from the file, which has it from the training images.
        device: Where it is to be.

    Raises:
        AdvdetectError: The file is missing, damaged, or holds another model.
    """
    state, provenance = read_tensors(path)
    arguments = _known_arguments(path, spec, provenance.get("model"))
    model = build_model(spec["_target_"], arguments)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise AdvdetectError(
            f"{path} does not fit {spec['_target_']} any more ({one_line(error)})."
        ) from error
    innermost = bool(provenance["model"].get("channels_last"))
    return placed(model, device, channels_last=innermost).requires_grad_(False)


def _known_arguments(path: str | Path, spec: Mapping[str, Any], recipe: Any) -> dict[str, Any]:
    """Return the arguments of a specification, with numbers from the file for what is ``auto``."""
    if not isinstance(recipe, Mapping):
        raise AdvdetectError(f"{path} holds no model: give the file that train has written.")
    made: Mapping[str, Any] = recipe["arguments"]
    arguments = dict(spec.get("arguments") or {})
    for name in (name for name, value in arguments.items() if value == FROM_THE_DATA):
        if not _is_numbers(made.get(name)):
            raise AdvdetectError(f"{path} has no number for the model's argument {name}.")
        arguments[name] = made[name]
    wanted, found = (spec["_target_"], arguments), (recipe["target"], made)
    if canonical_json(wanted) != canonical_json(found):
        raise AdvdetectError(
            f"{path} holds another model than the specification: {_call(*found)} in place of "
            f"{_call(*wanted)}."
        )
    return arguments


def _is_numbers(value: Any) -> bool:
    values = value if isinstance(value, list) and value else [value]
    return all(type(number) in (int, float) for number in values)


def _call(target: str, arguments: Mapping[str, Any]) -> str:
    return f"{target}({', '.join(f'{name}={value}' for name, value in arguments.items())})"
