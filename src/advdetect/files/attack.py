"""The file of an attack: one written schema, one writer, one reader.

It is the one interface between what makes adversarial images and what is made of them: crafted,
transferred, brought along or others' nearest, they all end in it. It is a safetensors file: a
header, which has the provenance, and rows of raw numbers, one per image.

While it is made it lies beside its place under a hidden name, in its full length and with one byte
for each row behind its end: whether that row is done. So an interrupted attack goes on where it
was, jobs of a sweep share their work by these files, and a whole one only loses bytes and a name.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.files import checksums
from advdetect.files.locks import locked
from advdetect.io import metadata, read_arrays, read_provenance, read_rows, read_shapes

STAGE, TRANSFER, BEST_OF = "attack", "transfer", "best-of"  # the steps that write it
#: In the provenance of a transfer: the columns of images that the model gets wrong when clean.
LEFT_OUT = "left_out"
ORIGINS = "origins"  # in that of the nearest of several attacks: those whose images it may hold
NO_TARGET = -1
#: What an image took, NaN where not known: measurements, which depend a little on its batch.
PASSES = ("forward_passes", "backward_passes")
_PARTIAL = ".partial"
_NUMPY = {"I64": np.int64, "F64": np.float64, "F32": np.float32, "BOOL": np.bool_}


@dataclass(frozen=True)
class Field:
    """One column of the file, with a row per image.

    Attributes:
        dtype: Type of its numbers, as safetensors names it.
        meaning: What it holds.
        is_image: Whether its rows are images (C, H, W); otherwise each is one number.
    """

    dtype: str
    meaning: str
    is_image: bool = False

    def shape(self, count: int, image: tuple[int, ...]) -> list[int]:
        """Return its shape in a file of so many images of that shape."""
        return [count, *(image if self.is_image else ())]


#: In the order of the file: wide numbers first, so that all lie at multiples of their size.
FIELDS = {
    "index": Field("I64", "position of the clean image in its data split"),
    "label": Field("I64", "true class"),
    "prediction": Field("I64", "class that the model gives the adversarial image"),
    "prediction_8bit": Field("I64", "the same, of the image rounded to 8 bits"),
    "target": Field("I64", f"class aimed at; {NO_TARGET} where there is none"),
    "iterations": Field("I64", "update steps of the attack"),
    "l2": Field("F64", "L2 distance to the clean image, pixels in [0, 1]"),
    "forward_passes": Field("F64", "its share of the rows that went through the model"),
    "backward_passes": Field("F64", "the same, of rows of gradients that went back"),
    "noise_scale": Field("F64", "what the twin's noise is multiplied by to be as far away"),
    "adversarial": Field("F32", "adversarial image, pixels in [0, 1]", is_image=True),
    "linf": Field("F32", "L-infinity distance to the clean image"),
    "success": Field("BOOL", "counts as fooling: misclassified, and claimed by the attack"),
    "success_8bit": Field("BOOL", "misclassified when rounded to 8 bits"),
    "crafted_success": Field("BOOL", "success where it was crafted, by the attack or its model"),
    "changed": Field("BOOL", "differs from the clean image"),
    "changed_8bit": Field("BOOL", "differs when both are rounded to 8 bits"),
}


class AttackFile:
    """An attack's file, to be read: small columns at once, images by rows.

    Args:
        path: The file.

    Raises:
        AdvdetectError: It is missing, damaged, another stage's, or not of the schema.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.facts = read_provenance(path)
        if self.facts.get("step") not in (STAGE, TRANSFER, BEST_OF):
            raise AdvdetectError(f"{path} is no file of an attack: make one with that stage.")
        found = read_shapes(path)
        count, *image = found.get("adversarial", ("", [0]))[1]
        for name, field in FIELDS.items():
            wanted = (field.dtype, field.shape(count, tuple(image)))
            if found.get(name) != wanted or len(image) != 3:
                raise AdvdetectError(
                    f"{path} is not as a file of an attack must be: '{name}' is "
                    f"{_described(found.get(name))}, not {field.dtype} with a row for each of the "
                    f"{count} images; make it anew."
                )
        self._count, self.image_shape = count, tuple(image)

    def __len__(self) -> int:
        return self._count

    @property
    def name(self) -> str:
        """The attack's name."""
        return self.facts["name"]

    def columns(self, *names: str) -> dict[str, NDArray]:
        """Return some of the fields, images apart: (N,) each."""
        return read_arrays(self.path, names)

    def column(self, name: str) -> NDArray:
        """Return one of the fields, images apart: (N,)."""
        return self.columns(name)[name]

    def adversarial(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the (n, C, H, W) adversarial images of some rows."""
        return read_rows(self.path, "adversarial", rows)


class AttackWriter:
    """An attack's file, to be written by blocks of rows, in any order and by several jobs.

    Args:
        output: The file's place.
        count: Number of images.
        image: Their shape (C, H, W).
        facts: Its provenance, among it the ``key``: a fingerprint of all that the images depend on.
            What is unfinished and has another key is never used. Additions before rows are kept.
    """

    def __init__(
        self, output: str | Path, count: int, image: Sequence[int], facts: dict[str, Any]
    ) -> None:
        self.output, self.key = Path(output), facts["key"]
        self._count, self._image, self.facts = count, tuple(image), facts
        self._entries, self._size = _entries(count, self._image)
        self._partial = self.output.with_name(f".{self.output.name}.{self.key}{_PARTIAL}")

    def is_complete(self) -> bool:
        """Return whether the file is in its place and has the same key."""
        try:
            checksums.verify(self.output)
            return read_provenance(self.output).get("key") == self.key
        except (AdvdetectError, OSError, ValueError):  # not there, or damaged: made anew
            return False

    def done(self) -> NDArray[np.bool_]:
        """Return which of the (N,) rows are done; this begins no file."""
        try:
            with self._open(create=False) as (file, start):
                file.seek(start + self._size)
                flags = np.frombuffer(file.read(self._count), np.bool_)
        except FileNotFoundError:
            return np.zeros(self._count, np.bool_)
        # Without flags it is on its way to its place.
        return flags if len(flags) else np.ones(self._count, np.bool_)

    def store(self, rows: range, adversarial: NDArray[np.float32]) -> NDArray[np.float32]:
        """Write images, and return them as the file gives them back; the rows are not done yet."""
        with self._open() as (file, start):
            self._write(file, start, "adversarial", rows, adversarial)
            return self._read(file, start, "adversarial", rows)

    def finish_rows(self, rows: range, columns: Mapping[str, NDArray]) -> None:
        """Write all that is not images of some rows, with which they are done."""
        with self._open() as (file, start):
            for name in FIELDS.keys() - {"adversarial"}:
                self._write(file, start, name, rows, columns[name])
            file.flush()
            os.fsync(file.fileno())  # before the flags: a power cut must not leave them alone
            file.seek(start + self._size + rows.start)
            file.write(b"\1" * len(rows))

    def columns(self, *names: str) -> dict[str, NDArray]:
        """Return some of the fields, images apart; where a row is not done, zero."""
        with self._open() as (file, start):
            return {name: self._read(file, start, name, range(self._count)) for name in names}

    def publish(self) -> None:
        """Move the file, all of whose rows are done, to its place."""
        with self._open() as (file, start):
            file.truncate(start + self._size)
            checksums.seal(self._partial)
        self._partial.replace(self.output)
        folder = self.output.parent
        if not any(path.name.endswith(_PARTIAL) for path in folder.glob(".*")):
            for lock in folder.glob(".*.lock"):  # the last attack at work here
                lock.unlink(missing_ok=True)

    def remove_unfinished(self, keep_own: bool) -> None:
        """Remove what is unfinished of the file with other keys, and perhaps its own."""
        with suppress(FileNotFoundError):
            for path in self.output.parent.iterdir():
                ours = path.name.startswith(f".{self.output.name}.") and path.suffix == _PARTIAL
                if ours and not (keep_own and path == self._partial):
                    path.unlink(missing_ok=True)

    @contextmanager
    def _open(self, create: bool = True) -> Iterator[tuple[BinaryIO, int]]:
        """Open the unfinished file, made anew where it is not sound, and keep other jobs out.

        Args:
            create: Whether to begin a file that is not there.

        Yields:
            The file, and where its rows start.
        """
        if create:
            self.output.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(self._partial, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
        with os.fdopen(number, "r+b") as file, locked(file):
            start = self._start(file)
            if start is None:
                start = self._begin(file)
            yield file, start

    def _start(self, file: BinaryIO) -> int | None:
        """Return where the rows start; None if the file is empty, damaged or of another shape."""
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if length + 8 > size:
            return None
        try:
            entries = json.loads(file.read(length))
        except ValueError:
            return None
        entries.pop("__metadata__", None)
        unmarked = size - (8 + length + self._size)
        return 8 + length if entries == self._entries and unmarked in (0, self._count) else None

    def _begin(self, file: BinaryIO) -> int:
        """Write the header and give the file its full length; return where the rows start."""
        header = json.dumps({"__metadata__": metadata(self.facts), **self._entries}).encode()
        header += b" " * (-len(header) % 8)
        file.truncate(0)
        file.seek(0)
        file.write(len(header).to_bytes(8, "little") + header)
        file.flush()
        file.truncate(8 + len(header) + self._size + self._count)
        return 8 + len(header)

    def _place(self, start: int, name: str, rows: range) -> tuple[int, np.dtype, list[int]]:
        """Return where rows of a field are, the type of their numbers and their shape."""
        dtype = np.dtype(_NUMPY[FIELDS[name].dtype])
        shape = FIELDS[name].shape(len(rows), self._image)
        before = rows.start * math.prod(shape[1:]) * dtype.itemsize
        return start + self._entries[name]["data_offsets"][0] + before, dtype, shape

    def _write(self, file: BinaryIO, start: int, name: str, rows: range, values: NDArray) -> None:
        place, dtype, shape = self._place(start, name, rows)
        if values.dtype != dtype or list(values.shape) != shape:
            raise ValueError(f"{name} must be {dtype} {shape}, not {values.dtype} {values.shape}")
        file.seek(place)
        file.write(np.ascontiguousarray(values).data)
        file.flush()

    def _read(self, file: BinaryIO, start: int, name: str, rows: range) -> NDArray:
        place, dtype, shape = self._place(start, name, rows)
        file.seek(place)
        return np.fromfile(file, dtype, math.prod(shape)).reshape(shape)


def pieces(done: NDArray[np.bool_], size: int) -> list[range]:
    """Return the rows that are not done, in pieces of at most ``size``.

    Jobs that start later cut in the same places what is left.

    Args:
        done: (N,).
        size: At least 1.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[True], done, [True]]).astype(np.int8)))
    return [
        range(start, min(start + size, int(end)))
        for begin, end in edges.reshape(-1, 2)
        for start in range(int(begin), int(end), size)
    ]


def _entries(count: int, image: tuple[int, ...]) -> tuple[dict[str, Any], int]:
    """Return what the header says of each field, and how many bytes the rows take."""
    entries, end = {}, 0
    for name, field in FIELDS.items():
        shape = field.shape(count, image)
        begin, end = end, end + math.prod(shape) * np.dtype(_NUMPY[field.dtype]).itemsize
        entries[name] = {"dtype": field.dtype, "shape": shape, "data_offsets": [begin, end]}
    return entries, end


def _described(found: tuple[str, list[int]] | None) -> str:
    return f"{found[0]} {tuple(found[1])}" if found else "missing"
