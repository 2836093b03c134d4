"""Text files; those in JSON carry their checksum."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advdetect.errors import explain_unreadable
from advdetect.files import checksums
from advdetect.files.atomic import atomic_path

if TYPE_CHECKING:  # only what writes tables has it imported
    import pandas as pd

_CHECKSUM = "sha256"


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def csv_of(table: "pd.DataFrame") -> str:
    """Return a published table as CSV, its numbers with six digits.

    Batches of another size change the seventh digit of some pixels, and so the eighth of norms and
    their means; that is no result.
    """
    return table.to_csv(index=False, lineterminator="\n", float_format="%.6g")


def write_json(path: str | Path, value: Mapping[str, Any]) -> None:
    """Write a mapping and its checksum to a JSON file, atomically."""
    checksum = {_CHECKSUM: checksums.sha256_of_json(checksums.as_read(value))}
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
        if value.pop(_CHECKSUM) != checksums.sha256_of_json(value):
            raise ValueError("its checksum is another")
        return value
