"""Classifiers of torchvision (its module ``torchvision.models``)."""

from collections.abc import Mapping
from typing import Any

from torchvision import models

from advdetect.errors import AdvdetectError
from advdetect.models.libraries.shared import PRETRAINED, LibraryClassifier, check_name
from advdetect.models.published import Published

# What torchvision sets by itself where weights are given, and is a part of the preprocessing.
_TRANSFORMED = {"googlenet": {"transform_input": True}, "inception_v3": {"transform_input": True}}


def classifier(
    *, name: str, num_classes: int, in_channels: int, options: Mapping[str, Any] | None = None
) -> LibraryClassifier:
    """Make a classifier of torchvision, its weights drawn as torchvision draws them.

    It normalises as the weights that torchvision takes by itself want it.

    Args:
        name: A name in ``torchvision.models.list_models(module=torchvision.models)``.
        num_classes: Number of logits.
        in_channels: 3, or 1, which is then red, green and blue.
        options: What else ``torchvision.models.get_model`` is to hand on, such as ``image_size``
            for a vision transformer; None for nothing.

    Raises:
        AdvdetectError: There is no classifier of that name, or no such number of channels.
    """
    check_name("model.arguments.name", name, _names(), "classifier of torchvision")
    preprocessing = _weights(name)["DEFAULT"].transforms()
    given = _TRANSFORMED.get(name, {}) | dict(options or {})
    net = models.get_model(name, weights=None, num_classes=num_classes, **given)
    return LibraryClassifier(net, preprocessing.mean, preprocessing.std, in_channels)


def published(weights: str, *, name: str, **_arguments: object) -> Published:
    """Return what torchvision publishes under the name of weights.

    Args:
        weights: ``pretrained`` for those that torchvision takes by itself, or a name of
            torchvision's, such as ``IMAGENET1K_V1``.
        name: As of `classifier`.

    Raises:
        AdvdetectError: It publishes none of that name, or not those of a classifier.
    """
    there = _weights(name)
    chosen = "DEFAULT" if weights == PRETRAINED else weights
    check_name("model.weights", chosen, there, f"weights of {name} and no file")
    categories = there[chosen].meta["categories"]
    if not categories:
        raise AdvdetectError(f"model.weights: {weights} of {name} are those of no classifier.")
    return Published(there[chosen].url, len(categories))


def _names() -> list[str]:
    return models.list_models(module=models)


def _weights(name: str) -> Mapping[str, Any]:
    """Return all weights of a classifier by torchvision's names, ``DEFAULT`` among them."""
    return models.get_model_weights(name).__members__
