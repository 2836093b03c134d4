"""Whether a file can hold weights, as its first and last bytes say, without reading them."""

import json
import zipfile
from pathlib import Path

from advdetect.errors import AdvdetectError

#: What `safetensors` files end with; all others are those of ``torch.save``.
SAFETENSORS = ".safetensors"
_PICKLE = b"\x80"  # what torch.save began with before version 1.6


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
