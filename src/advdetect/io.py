"""Files between the stages: safetensors and Parquet, whole or not there at all.

Every file is written under a temporary name and moved into place, so a job that is killed in the
middle leaves nothing that a later run would take for whole; each carries its checksum, which
readers verify. No pickle is written or read.
"""

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advdetect.errors import explain_unreadable, one_line
from advdetect.files import checksums
from advdetect.files.atomic import atomic_path
from advdetect.identity import check_input

if TYPE_CHECKING:  # each is imported where it is needed: start-up time is paid by every job
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    from torch import Tensor

PROVENANCE_KEY = "advdetect"


def write_tensors(
    path: str | Path, tensors: Mapping[str, "Tensor"], provenance: Mapping[str, Any]
) -> None:
    """Write named tensors and their provenance to one safetensors file, atomically."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata(provenance))
        except SafetensorError as error:  # it has no class of its own for a full disk
            raise OSError(errno.EIO, one_line(error), str(path)) from error
        checksums.seal(temporary)


def read_tensors(path: str | Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Read a safetensors file: its tensors and its provenance.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _verified(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        provenance = _facts_if_ours(file)
    check_input(path, provenance)
    return tensors, provenance


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, "np.ndarray"]:
    """Read some tensors of a safetensors file as NumPy arrays, without importing torch.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _verified(path), safe_open(path, framework="np") as file:
        arrays = {name: file.get_tensor(name) for name in names}
        provenance = _facts_if_ours(file)
    check_input(path, provenance)
    return arrays


def read_rows(path: str | Path, name: str, rows: "Sequence[int] | np.ndarray") -> "np.ndarray":
    """Read some rows of a tensor of a safetensors file; the others are not loaded.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import numpy as np
    from safetensors import safe_open

    with _verified(path), safe_open(path, framework="np") as file:
        tensor = file.get_slice(name)
        # An empty part besides, for the type and the shape where there are no rows.
        return np.concatenate([tensor[0:0], *(tensor[int(row) : int(row) + 1] for row in rows)])


def read_npz(path: str | Path) -> dict[str, "np.ndarray"]:
    """Read all arrays of a NumPy archive; none that would need pickle.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import numpy as np

    with explain_unreadable(path), np.load(path, allow_pickle=False) as file:
        return dict(file)


def read_shapes(path: str | Path) -> dict[str, tuple[str, list[int]]]:
    """Read the type and the shape of every tensor of a safetensors file.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with explain_unreadable(path), safe_open(path, framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}


def write_table(path: str | Path, table: "pd.DataFrame", provenance: Mapping[str, Any]) -> None:
    """Write a table and its provenance to one Parquet file, atomically."""
    import pyarrow as pa

    content = pa.Table.from_pandas(table, preserve_index=False)
    with table_writer(path, content.schema, provenance) as write:
        write(content)


@contextmanager
def table_writer(
    path: str | Path,
    schema: "pa.Schema",
    provenance: Mapping[str, Any],
    **options: Any,
) -> Iterator[Callable[["pa.Table"], None]]:
    """Yield a function that appends a row group to a Parquet file, atomic as a whole.

    Args:
        path: The file.
        schema: The columns.
        provenance: What is kept of its origin.
        options: Further ones of `pyarrow.parquet.ParquetWriter`.
    """
    import pyarrow.parquet as pq

    facts = {**(schema.metadata or {}), **metadata(provenance)}
    with atomic_path(path) as temporary:
        schema = schema.with_metadata(facts)
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            yield lambda table: writer.write_table(
                table.replace_schema_metadata(facts), row_group_size=max(1, len(table))
            )
        checksums.seal(temporary)


def read_table(
    path: str | Path,
    columns: Sequence[str] | None = None,
    wanted: Mapping[str, str] | None = None,
) -> "pd.DataFrame":
    """Read a Parquet file that `write_table` or `table_writer` wrote.

    Args:
        path: The file.
        columns: Which of its columns; all of them by default.
        wanted: The value that some columns must have; row groups without it are not read.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import pyarrow.parquet as pq

    with _verified(path), pq.ParquetFile(path) as file:
        provenance = _facts_of_table(file.schema_arrow)
        groups = list(range(file.num_row_groups))
        for column, value in (wanted or {}).items():
            groups = [i for i in groups if _may_hold(file.metadata.row_group(i), column, value)]
        names = list(dict.fromkeys([*(columns or file.schema_arrow.names), *(wanted or {})]))
        if missing := [name for name in names if name not in file.schema_arrow.names]:
            raise ValueError(f"it has no column {missing[0]}")
        table = file.read_row_groups(groups, columns=names, use_threads=False).to_pandas()
    check_input(path, provenance)
    for column, value in (wanted or {}).items():
        table = table[table[column] == value]
    return table[list(columns)] if columns else table


def _may_hold(group: "pq.RowGroupMetaData", column: str, value: str) -> bool:
    """Return whether a row group may have a value in a column, as its statistics say."""
    parts = (group.column(i) for i in range(group.num_columns))
    found = next((part.statistics for part in parts if part.path_in_schema == column), None)
    return found is None or not found.has_min_max or found.min <= value <= found.max


def read_row_groups(path: str | Path, rows: int = 1) -> Iterator["pa.Table"]:
    """Yield the row groups of a Parquet file, as many at a time as have this many rows together.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import pyarrow.parquet as pq

    with _verified(path):
        file = pq.ParquetFile(path)
    with file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        start = 0
        while start < len(sizes):
            stop = start + 1
            while stop < len(sizes) and sum(sizes[start : stop + 1]) <= rows:
                stop += 1
            with explain_unreadable(path):
                table = file.read_row_groups(range(start, stop), use_threads=False)
            yield table
            start = stop


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read only the provenance of a safetensors or Parquet file.

    Raises:
        AdvdetectError: The file is missing, is not whole, has no provenance or is another than its
            name says.
    """
    with explain_unreadable(path):
        if Path(path).suffix == ".parquet":
            import pyarrow.parquet as pq

            provenance = _facts_of_table(pq.read_schema(path))
        else:
            from safetensors import safe_open

            with safe_open(path, framework="np") as file:
                provenance = _facts((file.metadata() or {}).get(PROVENANCE_KEY))
    check_input(path, provenance)
    return provenance


def metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return a file's own metadata, which `checksums.seal` completes."""
    return {PROVENANCE_KEY: checksums.with_checksums(provenance)}


def _facts(text: str | bytes | None) -> dict[str, Any]:
    """Return the provenance of what a file's metadata holds of us."""
    if text is None:
        raise ValueError("it has no provenance")
    return checksums.provenance_in(text)


def _facts_if_ours(file: Any) -> dict[str, Any]:
    """Return the provenance of a safetensors file; that of a user's own is empty."""
    text = (file.metadata() or {}).get(PROVENANCE_KEY)
    return {} if text is None else _facts(text)


def _facts_of_table(schema: "pa.Schema") -> dict[str, Any]:
    return _facts((schema.metadata or {}).get(PROVENANCE_KEY.encode()))


@contextmanager
def _verified(path: str | Path) -> Iterator[None]:
    """Check a file's checksum before it is read, and say what to do where it cannot be."""
    with explain_unreadable(path):
        checksums.verify(path)
        yield
