"""Writing a file so that it is there whole or not at all, whoever else writes it."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_SUFFIX = ".tmp"
_written: list[Path] = []


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which becomes ``path`` when the block succeeds.

    The temporary name is no other writer's. What writers that were killed have left is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    while (claim := _claimed(path)) is None:
        pass
    temporary = Path(claim.name)
    try:
        with claim:
            yield temporary
            temporary.replace(path)
        _written.append(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def recorded() -> Iterator[list[Path]]:
    """Yield a list to which the files that are written in the block are added."""
    before = list(_written)
    _written.clear()
    try:
        yield _written
    finally:
        _written[:] = before


def _claimed(path: Path) -> BinaryIO | None:
    """Begin a temporary file of this writer's; None if another has just taken it for abandoned."""
    file = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}").open("xb")
    with suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX)  # it ends with this process, however that ends
    if os.path.exists(file.name):
        return file
    file.close()
    return None


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary files of a file that nobody is writing."""
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and other.suffix == _SUFFIX:
            with suppress(OSError), other.open("rb+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.unlink()
