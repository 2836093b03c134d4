"""Files between the stages: safetensors, Parquet and JSON, whole or not there at all.

Every file is written under a temporary name and moved into place, so a job that is killed in the
middle leaves nothing that a later run would take for whole. No pickle is written or read.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advdetect.errors import AdvdetectError, one_line

if TYPE_CHECKING:  # each is imported where it is needed: start-up time is paid by every job
    import numpy as np
    import pandas as pd
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
        save_file(contiguous, temporary, {PROVENANCE_KEY: _canonical(provenance)})


def read_tensors(path: str | Path) -> tuple[dict[str, "Tensor"], dict[str, Any]]:
    """Read a safetensors file: its tensors and its provenance.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _explain_unreadable(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        provenance = json.loads((file.metadata() or {}).get(PROVENANCE_KEY, "{}"))
    return tensors, provenance


def read_arrays(path: str | Path, names: Sequence[str]) -> dict[str, "np.ndarray"]:
    """Read some tensors of a safetensors file as NumPy arrays, without importing torch.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    from safetensors import safe_open

    with _explain_unreadable(path), safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in names}


def write_table(path: str | Path, table: "pd.DataFrame", provenance: Mapping[str, Any]) -> None:
    """Write a table and its provenance to one Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pandas(table, preserve_index=False)
    content = content.replace_schema_metadata(
        {**(content.schema.metadata or {}), PROVENANCE_KEY: _canonical(provenance)}
    )
    with atomic_path(path) as temporary:
        pq.write_table(content, temporary)


def read_table(path: str | Path) -> "pd.DataFrame":
    """Read a Parquet file that `write_table` wrote.

    Raises:
        AdvdetectError: The file is missing or is not whole.
    """
    import pandas as pd

    with _explain_unreadable(path):
        return pd.read_parquet(path)


def read_csv(*paths: str | Path) -> "pd.DataFrame":
    """Read CSV files of the pipeline, one below the other.

    Raises:
        AdvdetectError: A file is missing or is no table.
    """
    import pandas as pd

    tables = []
    for path in paths:
        with _explain_unreadable(path):
            tables.append(pd.read_csv(path, dtype={"seed": str}))
    return pd.concat(tables, ignore_index=True)


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Read only the provenance of a safetensors or Parquet file.

    Raises:
        AdvdetectError: The file is missing, is not whole or has no provenance.
    """
    with _explain_unreadable(path):
        if Path(path).suffix == ".parquet":
            import pyarrow.parquet as pq

            metadata = pq.read_schema(path).metadata
            return json.loads(metadata[PROVENANCE_KEY.encode()])
        from safetensors import safe_open

        with safe_open(path, framework="np") as file:
            return json.loads(file.metadata()[PROVENANCE_KEY])


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


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
