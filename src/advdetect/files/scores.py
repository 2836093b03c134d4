"""The scores of detectors: a Parquet file with a row group for each fitted detector and form.

No writer and no reader holds more than a part of it: what is read is one row group after the other,
or the rows that are wanted.

With many attacks this is the largest file of a run: a detector that was trained on one is tested on
all. The clean images, which are those of every attack, are therefore kept once in a row group, and
scores with the 24 significant bits of float32, over the whole range of float64.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from advdetect.io import read_row_groups, read_table, table_writer
from advdetect.protocol import CLEAN, KINDS, MAIN_FORM, UNCHANGED, on_own_attack

#: What names a cell: rows that a metric is computed of.
CELL = ["detector", "trained_on", "tested_on", "bits", "positives"]
_NAMES = pa.dictionary(pa.int16(), pa.string())
_SCHEMA = pa.schema(
    [
        *((name, _NAMES) for name in CELL),
        ("index", pa.int32()),
        ("kind", _NAMES),
        ("score", pa.float64()),
        ("reason", _NAMES),
    ]
)
#: Source images come sorted; scores have bytes that are alike where their exponents are.
_ENCODING = {"index": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT"}
_REPEATED = [name for name in _SCHEMA.names if name not in _ENCODING]

_BITS = 24  # of a score
_ROWS = 2**18  # read at a time: pandas needs as long for a small table as for such a one


@dataclass(frozen=True)
class ScorePart:
    """The scores that one fitted detector gives to images of one form.

    Attributes:
        detector: Its name.
        trained_on: The name of an attack, `protocol.OTHERS` or `protocol.CLEAN`.
        bits: A name in `protocol.BITS`.
        positives: A name in `protocol.POSITIVES`.
        attacks: Names of attacks.
        attack: (n,) positions in ``attacks``: which one an image belongs to; −1 for the clean
            images, which come first and are those of every attack that has not its own.
        index: (n,) source images.
        kind: (n,) positions in `protocol.KINDS`.
        score: (n,) higher for adversarial; NaN where there is none.
        reasons: By attack why its images have no score; those that are not named have one.
    """

    detector: str
    trained_on: str
    bits: str
    positives: str
    attacks: Sequence[str]
    attack: NDArray[np.int16]
    index: NDArray[np.integer]
    kind: NDArray[np.int8]
    score: NDArray[np.float64]
    reasons: Mapping[str, str]


@contextmanager
def write_scores(
    path: str | Path, provenance: Mapping[str, Any]
) -> Iterator[Callable[[ScorePart], None]]:
    """Yield a function that appends scores to a file, which is there when all are."""
    with table_writer(
        path,
        _SCHEMA,
        provenance,
        compression="zstd",
        use_dictionary=_REPEATED,
        column_encoding=_ENCODING,
    ) as write:
        yield lambda part: write(_table(part))


def read_parts(path: str | Path) -> Iterator[pd.DataFrame]:
    """Yield the scores part by part; all rows of a cell are in one table.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    for table in read_row_groups(path, _ROWS):
        yield _with_clean_images(table.to_pandas())


def read_cells(path: str | Path, **wanted: str) -> pd.DataFrame:
    """Read the scores of some cells.

    Args:
        path: The file.
        wanted: The values that columns must have, for example ``detector="threshold"``; none of
            the parts without them is read.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    attack = wanted.pop("tested_on", None)
    cells = _with_clean_images(read_table(path, wanted=wanted))
    return cells[cells["tested_on"] == attack] if attack else cells


def read_own_scores(path: str | Path, detector: str) -> pd.DataFrame:
    """Read the scores that features are compared by.

    Args:
        path: The file.
        detector: Which detector.

    Returns:
        The rows of float32 images and successful adversarials on which the detector met an attack
        as it was meant to (see `protocol.on_own_attack`), those of the control left out; none
        where there is no such detector.
    """
    bits, positives = MAIN_FORM
    chosen = read_cells(path, detector=detector, bits=bits, positives=positives)
    return chosen[on_own_attack(chosen) & (chosen["tested_on"] != UNCHANGED)]


def detectors_of(path: str | Path) -> list[str]:
    """Return the names of the detectors whose scores a file has."""
    return list(map(str, read_table(path, columns=["detector"])["detector"].unique()))


def _table(part: ScorePart) -> pa.Table:
    reasons = [part.reasons.get(attack, "") for attack in part.attacks]
    texts = list(dict.fromkeys(reasons))
    of_attack = np.array([texts.index(reason) for reason in reasons], dtype=np.int16)
    same = np.zeros(len(part.index), dtype=np.int16)
    columns = [
        _named(same, [part.detector]),
        _named(same, [part.trained_on]),
        _named(part.attack, part.attacks, mask=part.attack < 0),
        _named(same, [part.bits]),
        _named(same, [part.positives]),
        pa.array(part.index, type=pa.int32()),
        _named(part.kind.astype(np.int16), KINDS),
        pa.array(_rounded(part.score)),
        _named(of_attack[part.attack], texts),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _named(
    positions: NDArray[np.int16], names: Sequence[str], mask: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(positions, mask=mask), pa.array(names, type=pa.string())
    )


def _rounded(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    mantissa, exponent = np.frexp(scores)
    return np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS)


def _with_clean_images(stored: pd.DataFrame) -> pd.DataFrame:
    """Put the clean images of each part before the images of each of its attacks."""
    attack = np.asarray(pd.Categorical(stored["tested_on"]).codes)
    is_clean = (stored["kind"] == CLEAN).to_numpy()
    starts = np.flatnonzero(np.diff(attack, prepend=-2))  # of rows with the same attack, or clean
    rows, owners = [np.empty(0, dtype=np.intp)], [np.empty(0, dtype=np.intp)]
    clean = rows[0]
    for start, stop in itertools.pairwise([*starts, len(attack)]):
        own = np.arange(start, stop)
        if attack[start] < 0:
            clean = own
            continue
        both = own if is_clean[start] else np.concatenate([clean, own])
        rows.append(both)
        owners.append(np.full(len(both), start))
    cells = stored.take(np.concatenate(rows))
    for name in ("tested_on", "reason"):
        cells[name] = stored[name].array.take(np.concatenate(owners))
    cells.loc[cells["reason"] != "", "score"] = np.nan
    return cells.reset_index(drop=True)
