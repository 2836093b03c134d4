"""Reading what the step ``activations`` wrote, without importing torch."""

from typing import TYPE_CHECKING

from advdetect.errors import AdvdetectError
from advdetect.io import read_arrays, read_provenance
from advdetect.protocol import TRAIN

if TYPE_CHECKING:
    import numpy as np


def read_source(path: str) -> tuple[str, list[str]]:
    """Return whose activations a file holds, and of which kinds of images.

    Raises:
        AdvdetectError: It is another stage's file.
    """
    facts = read_provenance(path)
    if facts.get("step") != "activations":
        raise AdvdetectError(f"{path} is no file of activations: make one with that stage.")
    return facts["attack"], facts["kinds"]


def read_activations(path: str, kind: str) -> tuple["np.ndarray", dict[str, "np.ndarray"]]:
    """Return the (N,) positions of the images of a kind, and (N, d) by layer in their order."""
    layers = read_provenance(path)["layers"]
    index = f"{kind}/index"
    arrays = read_arrays(path, [index, *(f"{kind}/layer/{layer}" for layer in layers)])
    return arrays[index], {layer: arrays[f"{kind}/layer/{layer}"] for layer in layers}


def read_training_labels(path: str) -> "np.ndarray":
    """Return the (N,) true classes of the training images."""
    name = f"{TRAIN}/labels"
    return read_arrays(path, [name])[name]
