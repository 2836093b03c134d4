"""Classifiers of timm (Wightman 2019), an optional library."""

from collections.abc import Mapping
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.imports import load_library
from advdetect.models.libraries.shared import PRETRAINED, LibraryClassifier, check_name
from advdetect.models.published import Published, has_checksum

_EXTRA = "timm"


def classifier(
    *, name: str, num_classes: int, in_channels: int, options: Mapping[str, Any] | None = None
) -> LibraryClassifier:
    """Make a classifier of timm, its weights drawn as timm draws them.

    It normalises as the pretrained weights of that name want it.

    Args:
        name: A name in ``timm.list_models()``, perhaps with a tag of weights, as in
            ``timm.list_pretrained()``: ``resnet18.a1_in1k``.
        num_classes: Number of logits.
        in_channels: 3, or 1, which is then red, green and blue.
        options: What else ``timm.create_model`` is to hand on, such as ``img_size`` for a vision
            transformer; None for nothing.

    Raises:
        AdvdetectError: timm is not installed, it has no classifier of that name, or no such number
            of channels.
    """
    timm = load_library("timm", _EXTRA)
    known = [*timm.list_models(), *timm.list_pretrained()]
    check_name("model.arguments.name", name, known, "classifier of timm")
    net = timm.create_model(name, pretrained=False, num_classes=num_classes, **options or {})
    preprocessing = timm.data.resolve_data_config({}, model=net)
    return LibraryClassifier(net, preprocessing["mean"], preprocessing["std"], in_channels)


def published(weights: str, *, name: str, **_arguments: object) -> Published:
    """Return what timm publishes as the weights of a classifier.

    Args:
        weights: ``pretrained``; which ones says the tag in the name.
        name: As of `classifier`.

    Raises:
        AdvdetectError: It publishes none, not those of a classifier, or without a checksum.
    """
    check_name("model.weights", weights, [PRETRAINED], "weights of timm and no file")
    found = load_library("timm.models", _EXTRA).get_pretrained_cfg(name)
    if found is None or not found.has_weights:
        raise AdvdetectError(f"model.weights: timm publishes no weights of {name}.")
    if not found.num_classes:
        raise AdvdetectError(f"model.weights: those of {name} are of no classifier.")
    if not has_checksum(found.url or ""):
        where = f"https://huggingface.co/{found.hf_hub_id}" if found.hf_hub_id else found.url
        raise AdvdetectError(
            f"model.weights: timm publishes those of {name} without a checksum: download them from "
            f"{where}, such as model.safetensors there, and set model.weights to the file."
        )
    return Published(found.url, found.num_classes)
