"""The folder of a finished experiment, and the files of the store that stand behind it."""

from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.files.texts import read_json

MANIFEST = "manifest.json"
STORE = "store"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read which files stand behind an experiment, and which behind each of its cells.

    Args:
        folder: The experiment's folder, beside the store.

    Raises:
        AdvdetectError: There is no manifest, or it is damaged.
    """
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise AdvdetectError(f"{folder} is no finished experiment: it has no {MANIFEST}.")
    return read_json(path)


def store_files(folder: str | Path) -> list[Path]:
    """Return the files of the store that stand behind an experiment."""
    store = Path(folder).parent / STORE
    return [store / name for name in read_manifest(folder)["files"]]


def timing_files(folder: str | Path) -> list[Path]:
    """Return what the jobs of an experiment say that they took, whoever first had them run."""
    folder = Path(folder)
    logs, store = folder.parent / "logs", folder.parent / STORE
    jobs = [file.relative_to(store) for file in store_files(folder)]
    # A job of several files has a folder for them.
    names = dict.fromkeys(name for job in jobs for name in (job.with_suffix(""), job.parent))
    found = [logs / f"{name}.json" for name in names]
    return [
        path for path in (*found, *sorted((logs / folder.name).glob("*.json"))) if path.is_file()
    ]
