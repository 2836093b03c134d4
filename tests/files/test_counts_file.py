import numpy as np
import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.files.counts import UnfinishedCounts, read_counts, write_counts
from advdetect.io import write_tensors
from advdetect.smoothing.counts import Block, Counts

KEY = "0123456789ab"
IMAGES = {
    "index": np.array([4, 9]),
    "label": np.array([1, 2]),
    "prediction": np.array([1, 0]),
    "attack": np.array([0, 0]),
    "l2": np.array([0.0, 0.5]),
}


def some_counts():
    counts = Counts()
    blocks = [
        Block(0, "selection", 0, 2),
        Block(0, "estimation", 0, 2),
        Block(1, "selection", 0, 1),
    ]
    counts.add(blocks, np.array([1, 1, 1, 0, 2]))
    return counts


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "counts.safetensors"
    write_counts(path, IMAGES, some_counts(), {"step": "certify", "classes": 3})
    found = read_counts(path)
    assert found.of("selection").tolist() == [[0, 2, 0], [0, 0, 1]]
    assert found.of("estimation").tolist() == [[1, 1, 0], [0, 0, 0]]
    assert found.of("prediction").tolist() == [[0, 0, 0], [0, 0, 0]]
    for name, values in IMAGES.items():
        np.testing.assert_array_equal(found.images[name], values)


def test_a_file_of_another_stage_is_refused(tmp_path):
    path = tmp_path / "attack.safetensors"
    write_tensors(path, {"index": torch.zeros(1)}, {"step": "attack"})
    with pytest.raises(AdvdetectError, match="no file of certify"):
        read_counts(path)


def test_unfinished_counts_are_taken_up_only_by_what_they_were_made_by(tmp_path):
    output = tmp_path / f"sigma=1.{KEY}.safetensors"
    facts = {"key": KEY, "threads": 1}
    UnfinishedCounts(output, facts).keep(some_counts(), seconds=0)
    taken = UnfinishedCounts(output, facts).resume()
    np.testing.assert_array_equal(taken.table(), some_counts().table())
    assert (taken.blocks, taken.draws()) == (3, 5)
    assert UnfinishedCounts(output, {**facts, "threads": 2}).resume().blocks == 0
    (partial,) = tmp_path.iterdir()
    partial.write_bytes(partial.read_bytes()[:-1])
    assert UnfinishedCounts(output, facts).resume().blocks == 0
    UnfinishedCounts(output, facts).remove()
    assert not any(tmp_path.iterdir())


def test_counts_are_kept_now_and_then(tmp_path):
    unfinished = UnfinishedCounts(tmp_path / "counts.safetensors", {"key": KEY})
    unfinished.keep(some_counts())
    assert not any(tmp_path.iterdir())
