"""Text files: JSON, which carries its checksum, and tables as CSV."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advdetect.errors import explain_unreadable
from advdetect.files import checksums
from advdetect.files.atomic import atomic_path
from advdetect.identity import canonical_json

if TYPE_CHECKING:  # imported where it is needed: start-up time is paid by every job
    import pandas as pd

_CHECKSUM = "sha256"


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write a mapping and its checksum to a JSON file, atomically."""
    checksum = {_CHECKSUM: checksums.sha256(canonical_json(value))}
    write_text(path, json.dumps({**value, **checksum}, indent=2) + "\n")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that `write_json` wrote.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    with explain_unreadable(path):
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(value, dict) or _CHECKSUM not in value:
            raise ValueError("it has no checksum")
        if value.pop(_CHECKSUM) != checksums.sha256(canonical_json(value)):
            raise ValueError("its checksum is another")
        return value


def read_csv(*paths: str | Path) -> "pd.DataFrame":
    """Read CSV files of the pipeline, one below the other.

    Raises:
        AdvdetectError: A file is missing or is no table.
    """
    import pandas as pd

    tables = []
    for path in paths:
        with explain_unreadable(path):
            tables.append(pd.read_csv(path, dtype={"seed": str, "run": str, "reason": str}))
    return pd.concat(tables, ignore_index=True)
