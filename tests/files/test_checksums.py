import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from advdetect.errors import AdvdetectError
from advdetect.files.texts import read_json, write_json
from advdetect.io import (
    read_arrays,
    read_provenance,
    read_row_groups,
    read_rows,
    read_table,
    read_tensors,
    write_table,
    write_tensors,
)

FACTS = {"name": "kd", "seed": 1, "spec": {"epsilon": 0.1}, 3: [1, 2]}
STEP = 7  # bytes; all of them take a minute
AS_READ = {str(key): value for key, value in FACTS.items()}


def tensors(path):
    write_tensors(path, {"images": torch.arange(6).reshape(3, 2), "x": torch.rand(3)}, FACTS)


def table(path):
    write_table(path, pd.DataFrame({"index": [1, 2, 3], "kind": ["a", "b", "a"]}), FACTS)


READERS = {
    "tensors": (tensors, "x.safetensors", read_tensors),
    "arrays": (tensors, "x.safetensors", lambda path: read_arrays(path, ["x"])),
    "rows": (tensors, "x.safetensors", lambda path: read_rows(path, "images", [1])),
    "table": (table, "x.parquet", read_table),
    "one column": (table, "x.parquet", lambda path: read_table(path, ["index"])),
    "row groups": (table, "x.parquet", lambda path: list(read_row_groups(path))),
    "json": (lambda path: write_json(path, AS_READ), "x.json", read_json),
}


def read_or_refused(read, path):
    """Return what a file holds, or the sentence that refuses it."""
    try:
        return read(path)
    except AdvdetectError as error:
        return str(error)


@pytest.mark.parametrize("kind", READERS)
def test_no_flipped_bit_passes(tmp_path, kind):
    write, name, read = READERS[kind]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    read(path)
    generator = np.random.default_rng(0)
    for place in range(0, len(whole), STEP):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.integers(8)
        path.write_bytes(damaged)
        found = read_or_refused(read, path)
        is_refused = isinstance(found, str) and "Delete it and run again" in found
        # A blank between the values of a JSON file says nothing.
        assert is_refused or (kind == "json" and found == AS_READ), place


@pytest.mark.parametrize("kind", ["tensors", "table"])
def test_no_flipped_bit_changes_the_provenance_alone(tmp_path, kind):
    write, name, _ = READERS[kind]
    path = tmp_path / name
    write(path)
    whole = path.read_bytes()
    for place in range(0, len(whole), STEP):
        damaged = bytearray(whole)
        damaged[place] ^= 2
        path.write_bytes(damaged)
        found = read_or_refused(read_provenance, path)
        assert found == AS_READ or "Delete it and run again" in found, place


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors(path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    held = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["advdetect"])
    digits = held["file"].removeprefix("advdetect-sha256:")
    expected = hashlib.sha256(content.replace(digits.encode(), b"0" * 64)).hexdigest()
    assert digits == expected


def test_a_file_is_gone_through_once_in_a_process(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    tensors(path)
    read_tensors(path)
    monkeypatch.setattr("advdetect.files.checksums._digest", None)
    read_tensors(path)
    read_rows(path, "images", [1])


def test_a_users_own_file_has_none(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": np.arange(3)}, path)
    assert read_tensors(path)[0]["x"].tolist() == [0, 1, 2]


def test_a_file_whose_checksum_was_taken_out_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"x": np.arange(3)}, path, {"advdetect": json.dumps({"provenance": {}})})
    with pytest.raises(AdvdetectError, match="it has no checksum"):
        read_tensors(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(AdvdetectError, match=r"x\.json cannot be read.*Delete it"):
        read_json(path.with_suffix(".json"))
