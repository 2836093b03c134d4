"""Locks between the jobs that work in one folder; each ends with its block or with its process."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def locked(file: BinaryIO) -> Iterator[None]:
    """Wait until no other job has locked the file, and keep them out."""
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        file.flush()  # before others may read
        fcntl.lockf(file, fcntl.LOCK_UN)


@contextmanager
def claimed(folder: Path, work: str, rows: range, wait: bool) -> Iterator[bool]:
    """Claim rows of a piece of work among the jobs that write into one folder.

    Args:
        folder: The folder.
        work: Name of the work.
        rows: What is claimed; no two jobs have a row in common.
        wait: Whether to wait for the jobs that have claimed any of them.

    Yields:
        Whether they are this job's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{work}.lock").open("ab") as file:  # closing it gives the claim back
        kind = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(file, kind, len(rows), rows.start)
        except (BlockingIOError, PermissionError):  # which of them, is the system's choice
            yield False
        else:
            yield True
