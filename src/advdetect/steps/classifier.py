"""The trained classifier that a step is given, and the images that it gets right."""

import argparse

import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.models.store import read_model
from advdetect.steps import options


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add ``--model`` and ``--model-spec``: a trained classifier, and what it is built from."""
    parser.add_argument("--model", required=True, help="model, from train")
    parser.add_argument(
        "--model-spec",
        required=True,
        metavar="YAML|JSON",
        help="what it was trained from: a YAML file such as config/model/lenet5.yaml, or JSON "
        "text; the model is built from this, and the file must agree",
    )


def given_model(arguments: argparse.Namespace, device: torch.device) -> nn.Module:
    """Read the model that `add_model` asks for: on the device, in eval mode, weights frozen.

    Raises:
        AdvdetectError: It is missing, damaged or another than its specification says.
    """
    spec = options.read_mapping(arguments.model_spec, "--model-spec")
    if not isinstance(spec.get("_target_"), str):
        raise AdvdetectError("--model-spec has no _target_, what the model is made by.")
    return read_model(arguments.model, spec, device)


def add_judged(parser: argparse.ArgumentParser) -> None:
    """Add what is classified, and by what: `add_model`'s, ``--test`` and ``--clean``."""
    add_model(parser)
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument(
        "--clean", required=True, help="which of its images the model gets right, from classify"
    )


def judged(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the files that `add_judged` asks for, by what they are."""
    return {name: getattr(arguments, name) for name in ("model", "test", "clean")}
