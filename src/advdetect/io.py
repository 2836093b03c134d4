"""Files between the stages: safetensors, Parquet and JSON, whole or not there at all.

Every file is written under a temporary name and moved into place, so a job that is killed in the
middle leaves nothing that a later run would take for whole. No pickle is written or read.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advdetect.errors import AdvdetectError, one_line
from advdetect.identity import check_input

if TYPE_CHECKING:  # each is imported where it is needed: start-up time is paid by every job
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    from torch import Tensor

PROVENANCE_KEY = "advdetect"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which becomes ``path`` when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name for each file: what a killed job left behind, the next one overwrites.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write a JSON file atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    with _explain_unreadable(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def write_tensors(
    path: str | Path, tensors: Mapping[str, "Tensor"], provenance: Mapping[str, Any]
) -> None:
    """Write named tensors and their provenance to one safetensors file, atomically."""
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata(provenance))


def read_tensors(path: str | Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Read a safetensors file: its tensors and its provenance.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _explain_unreadable(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        provenance = _facts(file)
    check_input(path, provenance)
    return tensors, provenance


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, "np.ndarray"]:
    """Read some tensors of a safetensors file as NumPy arrays, without importing torch.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _explain_unreadable(path), safe_open(path, framework="np") as file:
        arrays, provenance = {name: file.get_tensor(name) for name in names}, _facts(file)
    check_input(path, provenance)
    return arrays


def read_rows(path: str | Path, name: str, rows: "Sequence[int] | np.ndarray") -> "np.ndarray":
    """Read some rows of a tensor of a safetensors file; the others are not loaded.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import numpy as np
    from safetensors import safe_open

    with _explain_unreadable(path), safe_open(path, framework="np") as file:
        tensor = file.get_slice(name)
        # An empty part besides, for the type and the shape where there are no rows.
        return np.concatenate([tensor[0:0], *(tensor[int(row) : int(row) + 1] for row in rows)])


def read_npz(path: str | Path) -> dict[str, "np.ndarray"]:
    """Read all arrays of a NumPy archive; none that would need pickle.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import numpy as np

    with _explain_unreadable(path), np.load(path, allow_pickle=False) as file:
        return dict(file)


def read_shapes(path: str | Path) -> dict[str, tuple[str, list[int]]]:
    """Read the type and the shape of every tensor of a safetensors file.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _explain_unreadable(path), safe_open(path, framework="np") as file:
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


def read_table(
    path: str | Path,
    columns: list[str] | None = None,
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

    with _explain_unreadable(path), pq.ParquetFile(path) as file:
        provenance = json.loads(file.schema_arrow.metadata[PROVENANCE_KEY.encode()])
        groups = list(range(file.num_row_groups))
        for column, value in (wanted or {}).items():
            groups = [i for i in groups if _may_hold(file.metadata.row_group(i), column, value)]
        names = columns and [*dict.fromkeys([*columns, *(wanted or {})])]
        table = file.read_row_groups(groups, columns=names, use_threads=False).to_pandas()
    check_input(path, provenance)
    for column, value in (wanted or {}).items():
        table = table[table[column] == value]
    return table[columns] if columns else table


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

    with _explain_unreadable(path):
        file = pq.ParquetFile(path)
    with file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        start = 0
        while start < len(sizes):
            stop = start + 1
            while stop < len(sizes) and sum(sizes[start : stop + 1]) <= rows:
                stop += 1
            with _explain_unreadable(path):
                table = file.read_row_groups(range(start, stop), use_threads=False)
            yield table
            start = stop


def read_csv(*paths: str | Path) -> "pd.DataFrame":
    """Read CSV files of the pipeline, one below the other.

    Raises:
        AdvdetectError: A file is missing or is no table.
    """
    import pandas as pd

    tables = []
    for path in paths:
        with _explain_unreadable(path):
            tables.append(pd.read_csv(path, dtype={"seed": str, "run": str, "reason": str}))
    return pd.concat(tables, ignore_index=True)


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read only the provenance of a safetensors or Parquet file.

    Raises:
        AdvdetectError: The file is missing, is not whole, has no provenance or is another than its
            name says.
    """
    with _explain_unreadable(path):
        if Path(path).suffix == ".parquet":
            import pyarrow.parquet as pq

            provenance = json.loads(pq.read_schema(path).metadata[PROVENANCE_KEY.encode()])
        else:
            from safetensors import safe_open

            with safe_open(path, framework="np") as file:
                provenance = json.loads(file.metadata()[PROVENANCE_KEY])
    check_input(path, provenance)
    return provenance


def _facts(file: Any) -> dict[str, Any]:
    return json.loads((file.metadata() or {}).get(PROVENANCE_KEY, "{}"))


def metadata(provenance: Mapping[str, Any]) -> dict[str, str]:
    """Return the provenance as a file's own metadata has it."""
    return {PROVENANCE_KEY: json.dumps(provenance, sort_keys=True)}


@contextmanager
def _explain_unreadable(path: str | Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise AdvdetectError(f"The file {path} does not exist.") from error
    except Exception as error:  # every library has its own class for a damaged file
        raise AdvdetectError(
            f"The file {path} cannot be read ({one_line(error)}): it is damaged or of another "
            f"kind. Delete it and run again; only it and what follows from it are made anew."
        ) from error
