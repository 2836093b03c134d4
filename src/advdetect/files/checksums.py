"""A file's checksum in the file itself, so that a byte that was not written so is noticed.

The SHA-256 of a safetensors or Parquet file stands in its metadata; it is that of the file with
zeros in its place. A reader goes through the whole file once in a process, 1.5 GB/s on one core of
2024, whatever part of it is wanted. The SHA-256 of the provenance stands beside it, for those who
read nothing else.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

_DIGITS = 64
_MARK = re.compile(rb"advdetect-sha256:([0-9a-f]{64})")
_UNSEALED = f"advdetect-sha256:{'0' * _DIGITS}"
_NAME = b"advdetect"  # in the metadata of all files of ours
_PARQUET = b"PAR1"
_CHUNK = 2**20

_verified: dict[str, tuple[int, ...]] = {}


def sha256(content: bytes) -> str:
    """Return the checksum of some bytes."""
    return hashlib.sha256(content).hexdigest()


def as_read(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is read of a mapping that is written as JSON: its keys are texts."""
    return json.loads(json.dumps(value))


def sha256_of_json(value: Mapping[str, Any]) -> str:
    """Return the checksum of a mapping that was read from JSON, or as it will be (`as_read`)."""
    return sha256(json.dumps(value, sort_keys=True).encode())


def with_checksums(provenance: Mapping[str, Any]) -> str:
    """Return the provenance for a file's metadata, with its checksum and a place for the file's."""
    provenance = as_read(provenance)
    checksum = sha256_of_json(provenance)
    held = {"file": _UNSEALED, "provenance": provenance, "sha256": checksum}
    return json.dumps(held, sort_keys=True)


def provenance_in(text: str | bytes) -> dict[str, Any]:
    """Return the provenance of what `with_checksums` returned.

    Raises:
        ValueError: It is not what was written.
    """
    held = json.loads(text)
    if sha256_of_json(held["provenance"]) != held["sha256"]:
        raise ValueError("the checksum of its provenance is another")
    return held["provenance"]


def seal(path: str | Path) -> None:
    """Put the checksum of a file that is complete in its place in it."""
    with Path(path).open("r+b") as file:
        place = _place(file)
        if place is None:
            raise ValueError(f"{path} has no place for a checksum")
        digest = _digest(file, place)
        file.seek(place)
        file.write(digest)


def verify(path: str | Path) -> None:
    """Check that a file is what was written; a file of somebody else's has no checksum.

    Raises:
        ValueError: It is another.
    """
    status = os.stat(path)
    seen = (status.st_ino, status.st_size, status.st_mtime_ns)
    if _verified.get(str(path)) == seen:
        return
    with Path(path).open("rb") as file:
        place = _place(file)
        if place is not None:
            digest = _digest(file, place)
            file.seek(place)
            if file.read(_DIGITS) != digest:
                raise ValueError("its checksum is another")
    _verified[str(path)] = seen


def _place(file: BinaryIO) -> int | None:
    """Return where the digits of a file's checksum start; None if it is no file of ours."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(8)
    if head.startswith(_PARQUET):
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        start = size - 8 - length
    else:
        start, length = 8, int.from_bytes(head, "little")
    if not 0 <= start <= start + length <= size:
        raise ValueError("it is not whole")
    file.seek(start)
    metadata = file.read(length)
    marks = [mark.start(1) for mark in _MARK.finditer(metadata)]
    if len(marks) != 1 and _NAME in metadata:
        raise ValueError("it has no checksum")
    return start + marks[0] if marks else None


def _digest(file: BinaryIO, place: int) -> bytes:
    """Return the checksum of a file with zeros in its place, as digits."""
    hashed = hashlib.sha256()
    file.seek(0)
    _add(hashed, file, place)
    hashed.update(b"0" * _DIGITS)
    file.seek(place + _DIGITS)
    _add(hashed, file, None)
    return hashed.hexdigest().encode()


def _add(hashed: "hashlib._Hash", file: BinaryIO, count: int | None) -> None:
    while chunk := file.read(_CHUNK if count is None else min(_CHUNK, count)):
        hashed.update(chunk)
        if count is not None:
            count -= len(chunk)
