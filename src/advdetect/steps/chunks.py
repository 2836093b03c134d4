"""Chunks: the finished images of an attack, kept on disk until the attack is complete.

They make an attack resumable, and through them the jobs of a sweep share their work: whoever
computes a chunk writes it for all instances of the sweep. They lie in a hidden folder beside the
attack's file and are removed when that is written.
"""

import fcntl
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.io import read_provenance, read_tensors, write_tensors

_FOLDER = ".chunks"
_LOCKS = ".locks"
_NAME = re.compile(r"(\d+)-(\d+)\.safetensors")


@dataclass(frozen=True)
class Chunks:
    """The chunks of one attack; rows are positions among the images that it attacks.

    Attributes:
        output: The attack's file.
        key: Fingerprint of all that the images depend on; chunks of another key are never read.
    """

    output: Path
    key: str

    @property
    def _folder(self) -> Path:
        return self.output.parent / _FOLDER / self.output.stem / self.key

    def _path(self, rows: range) -> Path:
        return self._folder / f"{rows.start}-{rows.stop}.safetensors"

    def ranges(self) -> list[range]:
        """Return the rows of each chunk, the first ones first."""
        with suppress(FileNotFoundError):
            matches = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
            ranges = [range(int(match[1]), int(match[2])) for match in matches if match]
            return sorted(ranges, key=lambda rows: (rows.start, rows.stop))
        return []

    def cover(self, rows: range) -> bool:
        """Return whether all of the rows are in chunks."""
        return not list(gaps(self.ranges(), rows, len(rows)))

    def complete(self) -> bool:
        """Return whether the attack's file exists and was made with the same key."""
        try:
            return read_provenance(self.output).get("key") == self.key
        except AdvdetectError:  # not there, or damaged: made anew
            return False

    def write(self, rows: range, tensors: Mapping[str, Tensor]) -> None:
        """Write a chunk, whole or not at all."""
        write_tensors(self._path(rows), tensors, {})

    def read(self, rows: range) -> dict[str, Tensor]:
        """Read rows that the chunks cover, however these are cut."""
        parts = []
        position = rows.start
        for chunk in self.ranges():
            if chunk.start <= position < min(chunk.stop, rows.stop):
                tensors, _ = read_tensors(self._path(chunk))
                part = slice(position - chunk.start, rows.stop - chunk.start)
                parts.append({name: tensor[part] for name, tensor in tensors.items()})
                position = chunk.stop
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def remove_unusable(self) -> None:
        """Remove the chunks of other keys and those that are damaged: they are made anew."""
        with suppress(FileNotFoundError):
            for folder in self._folder.parent.iterdir():
                if folder != self._folder:
                    shutil.rmtree(folder, ignore_errors=True)
        for rows in self.ranges():
            try:
                read_tensors(self._path(rows))
            except AdvdetectError:
                self._path(rows).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all chunks of the attack; the last attack removes the folder that all share."""
        shutil.rmtree(self._folder.parent, ignore_errors=True)
        shared = self.output.parent / _FOLDER
        with suppress(OSError):  # another job may be at work there
            if {path.name for path in shared.iterdir()} <= {_LOCKS}:
                shutil.rmtree(shared / _LOCKS, ignore_errors=True)
                shared.rmdir()

    @contextmanager
    def claim(self, name: str, wait: bool) -> Iterator[bool]:
        """Claim a piece of work among the jobs of attacks whose files are in the same folder.

        Args:
            name: What is claimed.
            wait: Whether to wait for the job that has claimed it; its claim ends with its work, or
                with its process.

        Yields:
            Whether the work is this job's.
        """
        path = self.output.parent / _FOLDER / _LOCKS / name
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # the last job to end was removing the folder
                file = path.open("w")
                break
        with file:  # closing it gives the claim back
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def gaps(covered: Iterable[range], rows: range, size: int) -> Iterator[range]:
    """Yield the rows that are not covered, in pieces of at most ``size``.

    Args:
        covered: Ranges in the order of their starts; they may overlap.
        rows: The rows to cover.
        size: At least 1.
    """
    position = rows.start
    for done in (*covered, range(rows.stop, rows.stop)):
        end = min(done.start, rows.stop)
        for start in range(position, end, size):
            yield range(start, min(start + size, end))
        position = max(position, done.stop)
