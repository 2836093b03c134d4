"""Whether weights can be those of a model: a file by its bytes at both ends, a name by its classes.

Nothing of a file's weights is read.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.requirements.subsets import Images
from advdetect.requirements.training import FROM_WEIGHTS

#: In a model: what says where the weights lie that its library publishes under a name.
PUBLISHED = "_published_"
#: What `safetensors` files end with; all others are those of ``torch.save``.
SAFETENSORS = ".safetensors"
_PICKLE = b"\x80"  # what torch.save began with before version 1.6

_OF_ILSVRC = 1000


def is_name(weights: str | None, model: Mapping[str, Any]) -> bool:
    """Return whether weights are named as a model's library does, and not by a file's path."""
    return bool(weights) and PUBLISHED in model and not {"/", "\\", "."} & set(weights or "")


def say_other_classes(weights: str, classes: int, of_data: int) -> str:
    """Return the sentence for weights of other classes than those of the data."""
    return (
        f"{weights} is of {classes} classes, but the data has {of_data}: choose the data that the "
        f"weights were made for, or training=fine_tuning with the last layer in "
        f"training.new_layers."
    )


def check_ilsvrc(
    images: Images,
    owner: Mapping[str, Any],
    *,
    weights: str | None = None,
    training: Mapping[str, Any] | None = None,
    **parameters: object,
) -> None:
    """Refuse named weights of ILSVRC-2012, as all of torchvision's are, for data of other classes.

    Args:
        images: What is known of the data set.
        owner: Not used.
        weights: ``model.weights``.
        training: ``model.training``; None where there is none.
        parameters: Other settings of the model.

    Raises:
        AdvdetectError: They would be used as they are, and the data has other classes.
    """
    known = images.classes or _OF_ILSVRC
    is_used = is_name(weights, {PUBLISHED: ""}) and FROM_WEIGHTS not in (training or {})
    if is_used and known != _OF_ILSVRC:
        raise AdvdetectError(f"weights: {say_other_classes(str(weights), _OF_ILSVRC, known)}")


def check_weights_file(path: str | Path) -> None:
    """Check that a file of weights is there, is whole and of a kind that can be read.

    Raises:
        AdvdetectError: It is missing, was cut off, or is of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise AdvdetectError(f"the file {path} does not exist.")
    try:
        is_whole = _is_safetensors(path) if path.suffix == SAFETENSORS else _is_of_torch(path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # what no header holds
        is_whole = False
    if not is_whole:
        raise AdvdetectError(
            f"the file {path} holds no weights, or was cut off: give a .safetensors file, or what "
            "torch.save has written."
        )


def _is_safetensors(path: Path) -> bool:
    """Return whether the file ends where its header says that the last tensor does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size:
            return False
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    return bool(8 + length + end == size)


def _is_of_torch(path: Path) -> bool:
    """Return whether the file is an archive, whose directory is at its end, or a pickle."""
    with path.open("rb") as file:
        return file.read(1) == _PICKLE or zipfile.is_zipfile(file)
