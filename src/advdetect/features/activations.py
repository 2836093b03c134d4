"""What features share that are computed from the activations of a model."""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.requirements.classes import check_class

#: Layer name -> (N, d) in the order of the network; the last hidden one is `PENULTIMATE`, and
#: `LOGITS` holds the (N, classes) logits.
Activations = Mapping[str, Tensor]

PENULTIMATE = "penultimate"
LOGITS = "logits"


def layer_values(activations: Activations, layer: str, feature: str) -> Tensor:
    """Return the (N, d) values of a layer.

    Args:
        activations: (N, d) by layer.
        layer: Name of the layer.
        feature: Who asks, for the error.

    Raises:
        AdvdetectError: There is no such layer.
    """
    if layer not in activations:
        raise AdvdetectError(
            f"The feature {feature} asks for the layer {layer!r}, and the activations have "
            f"{', '.join(activations)}: name one of these."
        )
    return activations[layer]


def selected_layers(
    activations: Activations, layers: Sequence[str] | None, feature: str
) -> list[str]:
    """Return the names of the layers that a feature uses, in the order of the network.

    The penultimate layer is always among them, so that its column, by which a feature of many
    layers is scored, exists whatever else is chosen.

    Args:
        activations: (N, d) by layer.
        layers: Names of the layers to use beside the penultimate one; None means every hidden
            layer. The logits are used only where they are named.
        feature: Who asks, for the error.

    Raises:
        AdvdetectError: There is no such layer.
    """
    if layers is None:
        return [layer for layer in activations if layer != LOGITS]
    wanted = {*layers, PENULTIMATE}
    for layer in sorted(wanted):
        layer_values(activations, layer, feature)
    return [layer for layer in activations if layer in wanted]


def layer_columns(feature: str, layers: Sequence[str]) -> dict[str, str]:
    """Return the column of each layer: ``<feature>_<layer>`` in letters, digits and underscores.

    Args:
        feature: Name of the feature.
        layers: Names of the layers, such as ``classifier.4``.

    Raises:
        AdvdetectError: Two layers would have the same column.
    """
    columns: dict[str, str] = {}
    owners: dict[str, str] = {}
    for layer in layers:
        column = f"{feature}_{re.sub(r'[^0-9A-Za-z_]', '_', layer)}"
        if column in owners:
            raise AdvdetectError(
                f"The layers {owners[column]!r} and {layer!r} would both make the column {column}: "
                f"name only one of them in the parameter layers of the feature {feature}."
            )
        owners[column] = layer
        columns[layer] = column
    return columns


def count_classes(activations: Activations, labels: Tensor, feature: str, least: int) -> Tensor:
    """Return how many training images each class has.

    Args:
        activations: Of the training images; the logits say how many classes there are.
        labels: (N,) int64 true classes.
        feature: Who asks, for the error.
        least: Images that the feature needs of every class.

    Returns:
        (classes,) int64.

    Raises:
        AdvdetectError: A class has fewer images than the feature needs.
    """
    counts = torch.bincount(labels, minlength=activations[LOGITS].shape[1])
    check_class(feature, least, int(counts.argmin()), int(counts.min()))
    return counts


def fitted_values(fitted: Mapping[str, Tensor], name: str, feature: str) -> Tensor:
    """Return a tensor of a fitted feature.

    Args:
        fitted: What the feature's ``fit`` returned.
        name: Name of the tensor.
        feature: Who asks, for the error.

    Raises:
        AdvdetectError: ``fit`` was called with other layers.
    """
    if name not in fitted:
        raise AdvdetectError(
            f"The fitted model of the feature {feature} lacks {name!r} and has "
            f"{', '.join(fitted)}: fit it again with the same layers."
        )
    return fitted[name]
