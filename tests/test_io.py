import numpy as np
import pandas as pd
import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.files.texts import read_json
from advdetect.io import (
    read_arrays,
    read_provenance,
    read_table,
    read_tensors,
    write_table,
    write_tensors,
)


@pytest.fixture
def tensors():
    return {"images": torch.rand(3, 1, 4, 4), "labels": torch.arange(3)}


def test_tensors_come_back_to_the_bit(tmp_path, tensors):
    path = tmp_path / "sub" / "file.safetensors"
    write_tensors(path, tensors, {"seed": 1})
    read, provenance = read_tensors(path)
    assert provenance == {"seed": 1} == read_provenance(path)
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    np.testing.assert_array_equal(read_arrays(path, ["labels"])["labels"], [0, 1, 2])


def test_tables_come_back(tmp_path):
    path = tmp_path / "file.parquet"
    table = pd.DataFrame({"index": [1, 2], "kind": ["clean", "noisy"], "x": [0.1, -np.pi]})
    write_table(path, table, {"name": "kd"})
    pd.testing.assert_frame_equal(read_table(path), table)
    assert read_provenance(path) == {"name": "kd"}


def test_equal_content_gives_equal_files(tmp_path, tensors):
    for name in ("a", "b"):
        write_tensors(tmp_path / name, tensors, {"y": 1, "x": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_truncated_file_is_named_with_the_remedy(tmp_path, tensors, keep):
    path = tmp_path / "file.safetensors"
    write_tensors(path, tensors, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(AdvdetectError, match=r"file\.safetensors cannot be read.*Delete it"):
        read_tensors(path)
    table = tmp_path / "file.parquet"
    write_table(table, pd.DataFrame({"x": [1.0]}), {})
    table.write_bytes(table.read_bytes()[:keep])
    with pytest.raises(AdvdetectError, match=r"file\.parquet cannot be read.*Delete it"):
        read_table(table)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AdvdetectError, match=r"absent\.json does not exist"):
        read_json(tmp_path / "absent.json")
