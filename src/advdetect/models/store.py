"""Building a model from its specification, and keeping it in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError, one_line
from advdetect.imports import locate
from advdetect.inference import to_float
from advdetect.io import read_tensors, write_tensors

FROM_THE_DATA = "auto"


def resolve_arguments(arguments: Mapping[str, Any], train: ImageSplit) -> dict[str, Any]:
    """Replace the arguments that are ``auto`` by what the training images say.

    Known are ``num_classes``, ``in_channels``, ``image_size`` (the height), and ``mean`` and
    ``std`` of each channel of the images in [0, 1].

    Raises:
        AdvdetectError: Another argument is ``auto``.
    """
    known: dict[str, Any] = {
        "num_classes": len(train.class_names),
        "in_channels": train.images.shape[1],
        "image_size": train.images.shape[2],
    }
    if {"mean", "std"} & {name for name, value in arguments.items() if value == FROM_THE_DATA}:
        # Moments of 8-bit pixels from their histogram: exact, and no float copy of the split.
        values = to_float(torch.arange(256, dtype=torch.uint8)).double()
        channels = train.images.transpose(0, 1).flatten(1)
        shares = torch.stack([torch.bincount(c.long(), minlength=256) for c in channels]).double()
        shares /= shares.sum(1, keepdim=True)
        mean = shares @ values
        known["mean"] = [round(value, 4) for value in mean.tolist()]
        known["std"] = [
            round(value, 4)
            for value in (shares @ values**2 - mean**2).clamp_min(1e-8).sqrt().tolist()
        ]
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


def build_model(target: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make the model that a specification names, in eval mode.

    Args:
        target: Import path of a class or function that returns a ``torch.nn.Module``.
        arguments: Its keyword arguments.

    Raises:
        AdvdetectError: The call fails or returns something else.
    """
    try:
        model = locate(target)(**arguments)
    except TypeError as error:
        raise AdvdetectError(f"model: {target} does not take these arguments ({error}).") from error
    if not isinstance(model, nn.Module):
        raise AdvdetectError(
            f"model: {target} returns {type(model).__name__}, not a torch.nn.Module."
        )
    return model.eval()


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Load a user's own weights (.safetensors, or .pt/.pth holding a state dict) into the model.

    Raises:
        AdvdetectError: The file is missing, unreadable or does not fit the model.
    """
    path = Path(path)
    if not path.is_file():
        raise AdvdetectError(f"model.weights: the file {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except Exception as error:  # each format and each mismatch raises its own class
        raise AdvdetectError(
            f"model.weights: {path} does not hold the weights of {type(model).__name__} "
            f"({one_line(error)})."
        ) from error


def write_model(
    path: str | Path,
    model: nn.Module,
    target: str,
    arguments: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> None:
    """Write the weights, and what is needed to build the model again, to one file."""
    recipe = {"target": target, "arguments": dict(arguments)}
    # Cloned, since safetensors refuses tensors that share memory (tied weights).
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    write_tensors(path, state, {**provenance, "model": recipe})


def read_model(path: str | Path, device: torch.device) -> nn.Module:
    """Read a model that `write_model` wrote: on the device, in eval mode, weights frozen.

    Raises:
        AdvdetectError: The file is missing or damaged, or its model class has changed.
    """
    state, provenance = read_tensors(path)
    recipe = provenance["model"]
    model = build_model(recipe["target"], recipe["arguments"])
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise AdvdetectError(
            f"{path} does not fit {recipe['target']} any more ({one_line(error)})."
        ) from error
    return model.to(device).requires_grad_(False)
