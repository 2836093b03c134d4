"""Fitted detectors in one Parquet file, a row group each, without pickle.

Each is read by itself, so that neither fitting nor scoring holds more than one of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from advdetect.errors import AdvdetectError
from advdetect.files.objects import decode, encode
from advdetect.io import read_row_groups, table_writer

_KEYS = ("detector", "trained_on", "left_out", "bits", "positives", "reason")
_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in _KEYS), ("structure", pa.string()), ("arrays", pa.binary())]
)


@dataclass(frozen=True)
class FittedDetector:
    """One detector, fitted on one training set.

    Attributes:
        detector: Its name.
        trained_on: The name of an attack, `protocol.OTHERS` or `protocol.CLEAN`.
        left_out: The attack that it was not trained on, where it was trained on the others.
        bits: The form of its images; empty where it was trained on clean ones.
        positives: Which adversarial images counted; empty where it was trained on clean ones.
        estimator: The fitted scikit-learn estimator; None where there is a reason.
        reason: Why it could not be fitted; else empty.
        thresholds: By form of the images (a name in `protocol.BITS`) and false positive rate, the
            score above which that share of the negatives that it was fitted on lies, at most.
    """

    detector: str
    trained_on: str
    left_out: str
    bits: str
    positives: str
    estimator: Any
    reason: str = ""
    thresholds: Mapping[tuple[str, float], float] = field(default_factory=dict)


@contextmanager
def write_detectors(
    path: str | Path, provenance: Mapping[str, Any], packages: Collection[str]
) -> Iterator[Callable[[FittedDetector], None]]:
    """Yield a function that appends a fitted detector to a file, which is there when all are.

    Args:
        path: The file.
        provenance: What is kept in it about its origin.
        packages: Names of packages besides scikit-learn and NumPy whose types a detector may hold.
    """
    with table_writer(path, _SCHEMA, provenance) as write:

        def append(fitted: FittedDetector) -> None:
            try:
                structure, arrays = encode(fitted.estimator, packages)
            except TypeError as error:
                raise AdvdetectError(
                    f"The detector {fitted.detector} cannot be kept in a file: {error}."
                ) from error
            values = [*(getattr(fitted, name) for name in _KEYS), structure, arrays]
            columns = [
                pa.array([value], type=kind.type)
                for value, kind in zip(values, _SCHEMA, strict=True)
            ]
            write(pa.Table.from_arrays(columns, schema=_SCHEMA))

        yield append


def read_detectors(path: str | Path, packages: Collection[str]) -> Iterator[FittedDetector]:
    """Yield the fitted detectors of a file, without their thresholds.

    Args:
        path: The file.
        packages: Names of packages besides scikit-learn and NumPy whose types may be made.

    Raises:
        AdvdetectError: The file is damaged, or holds a type that is not trusted.
    """
    for table in read_row_groups(path):
        if table.column_names != _SCHEMA.names or len(table) != 1:
            raise AdvdetectError(f"{path} holds no fitted detectors: give the file that has them.")
        (row,) = table.to_pylist()
        try:
            estimator = decode(row.pop("structure"), row.pop("arrays"), packages)
        except TypeError as error:
            raise AdvdetectError(f"The file {path} is not read: {error}.") from error
        yield FittedDetector(estimator=estimator, **row)
