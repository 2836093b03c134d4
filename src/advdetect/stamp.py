"""The stamp of published files: its name holds the key of what they were made from."""

from collections.abc import Sequence
from pathlib import Path

from advdetect.files.texts import write_json


def write_stamp(path: str | Path, command: Sequence[str]) -> None:
    """Write a stamp in place of that of another key.

    Where the stamp of a published file that is wanted is not there, the file is made again: after
    a change back too, since only the last one lies there.

    Args:
        path: ``<name>.<key>.json``.
        command: The words of the command that made the files.
    """
    path = Path(path)
    name = path.with_suffix("").stem
    for other in path.parent.glob("*.json"):
        if other != path and other.with_suffix("").stem == name:
            other.unlink(missing_ok=True)
    write_json(path, {"command": list(command)})
