"""Published files, which their names do not tell apart, and the stamps beside them that do.

The name of a stamp holds the key of what its files were made from; inside are the command that made
them and their checksums, which readers verify. Files without a stamp, made by hand or by others,
are read as they are.
"""

import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from advdetect.errors import AdvdetectError, explain_unreadable
from advdetect.files.checksums import sha256
from advdetect.files.texts import read_json, write_json

if TYPE_CHECKING:  # imported where it is needed: start-up time is paid by every job
    import pandas as pd

_FOLDER = ".stamps"  # in that of an experiment


def write_stamp(path: str | Path, command: Sequence[str], written: Iterable[Path]) -> None:
    """Write a stamp in place of that of another key.

    Where the stamp of a published file that is wanted is not there, the file is made again: after
    a change back too, since only the last one lies there.

    Args:
        path: ``.stamps/<name>.<key>.json`` in the folder of an experiment.
        command: The words of the command that made the files.
        written: The files.
    """
    path = Path(path)
    name = path.with_suffix("").stem
    for other in path.parent.glob("*.json"):
        if other != path and other.with_suffix("").stem == name:
            other.unlink(missing_ok=True)
    files = {
        os.path.relpath(file, path.parent.parent): sha256(file.read_bytes()) for file in written
    }
    write_json(path, {"command": list(command), "files": files})


def read_published(*paths: str | Path) -> list[bytes]:
    """Read files that may have been published.

    Raises:
        AdvdetectError: A file is missing, or is not what its stamp says.
    """
    places = [Path(os.path.abspath(path)) for path in paths]
    # A table lies in a folder of the experiment's, the report in its own.
    folders = dict.fromkeys(folder for place in places for folder in place.parents[:2])
    stamped = {name: held for folder in folders for name, held in _checksums(folder).items()}
    contents = []
    for path, place in zip(paths, places, strict=True):
        with explain_unreadable(path):
            content = place.read_bytes()
            if place in stamped and sha256(content) != stamped[place]:
                raise ValueError("its checksum is another")
        contents.append(content)
    return contents


def read_csv(*paths: str | Path) -> "pd.DataFrame":
    """Read CSV files, one below the other.

    Raises:
        AdvdetectError: A file is missing, is no table or is not what its stamp says.
    """
    import pandas as pd

    tables = []
    for path, content in zip(paths, read_published(*paths), strict=True):
        with explain_unreadable(path):
            types = {"seed": str, "run": str, "reason": str}
            tables.append(pd.read_csv(BytesIO(content), dtype=types))
    return pd.concat(tables, ignore_index=True)


def _checksums(folder: Path) -> dict[Path, str]:
    """Return the checksums of the published files of a folder that have a stamp."""
    found: dict[Path, str] = {}
    for stamp in sorted((folder / _FOLDER).glob("*.json")):
        try:
            files = read_json(stamp)["files"]
        except AdvdetectError as error:
            # Between the list and the look another job has made its files again: none of ours.
            if isinstance(error.__cause__, FileNotFoundError):
                continue
            raise
        found |= {folder / name: checksum for name, checksum in files.items()}
    return found
