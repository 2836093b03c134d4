"""The attack's file: safetensors reads what is written, and nothing half-done counts as whole."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from advdetect.errors import AdvdetectError
from advdetect.files.attack import FIELDS, AttackFile, AttackWriter, pieces
from advdetect.io import write_tensors

IMAGE = (2, 3, 5)
COUNT = 11
FACTS = {"step": "attack", "name": "mine", "key": "k1"}


def rows_of(count: int = COUNT, seed: int = 0) -> dict[str, np.ndarray]:
    """Random rows of the schema."""
    draw = np.random.default_rng(seed)
    kinds = {"I64": np.int64, "F64": np.float64, "F32": np.float32, "BOOL": np.bool_}
    return {
        name: (draw.random((count, *(IMAGE if field.is_image else ()))) * 2).astype(
            kinds[field.dtype]
        )
        for name, field in FIELDS.items()
    }


def write_arrays(path, arrays, facts) -> None:
    write_tensors(path, {name: torch.from_numpy(array) for name, array in arrays.items()}, facts)


def write(writer: AttackWriter, tensors: dict[str, np.ndarray], rows: range) -> None:
    part = {name: values[rows.start : rows.stop] for name, values in tensors.items()}
    stored = writer.store(rows, part["adversarial"])
    np.testing.assert_array_equal(stored, part["adversarial"])
    writer.finish_rows(rows, part)


@pytest.fixture
def output(tmp_path):
    return tmp_path / "attacks" / "mine.safetensors"


@pytest.fixture
def writer(output) -> AttackWriter:
    return AttackWriter(output, COUNT, IMAGE, FACTS)


def test_safetensors_reads_what_was_written_in_any_order(writer, output):
    tensors = rows_of()
    for rows in (range(7, 11), range(3), range(3, 7)):
        assert not writer.done().all()
        assert not writer.is_complete()
        assert not output.exists()
        write(writer, tensors, rows)
    assert writer.done().all()
    writer.publish()
    assert writer.is_complete()
    assert list(output.parent.iterdir()) == [output]
    stored = load_file(output)
    assert stored.keys() == tensors.keys()
    for name, values in tensors.items():
        assert stored[name].dtype == values.dtype
        np.testing.assert_array_equal(stored[name], values)
    with safe_open(output, framework="np") as file:
        assert json.loads(file.metadata()["advdetect"])["provenance"] == FACTS


def test_the_reader_gives_columns_and_some_rows(writer, output):
    tensors = rows_of()
    write(writer, tensors, range(COUNT))
    writer.publish()
    file = AttackFile(output)
    assert (len(file), file.name, file.image_shape, file.facts) == (COUNT, "mine", IMAGE, FACTS)
    for name, values in file.columns("l2", "success").items():
        np.testing.assert_array_equal(values, tensors[name])
    for rows in ([4, 5, 9], [10, 0], []):
        np.testing.assert_array_equal(file.adversarial(rows), tensors["adversarial"][rows])


def test_what_is_unfinished_is_found_by_the_next_writer(writer, output):
    tensors = rows_of()
    write(writer, tensors, range(2, 5))
    writer.store(range(5, 8), tensors["adversarial"][5:8])  # killed before the rest
    again = AttackWriter(output, COUNT, IMAGE, FACTS)
    assert np.flatnonzero(again.done()).tolist() == [2, 3, 4]
    np.testing.assert_array_equal(again.columns("l2")["l2"][2:5], tensors["l2"][2:5])
    assert not again.columns("success")["success"][5:].any()


def test_another_key_is_never_used_and_removed(writer, output):
    write(writer, rows_of(), range(5))
    other = AttackWriter(output, COUNT, IMAGE, {**FACTS, "key": "k2"})
    neighbour = AttackWriter(output.with_name("mine,x=1.safetensors"), COUNT, IMAGE, FACTS)
    write(neighbour, rows_of(), range(5))
    assert not other.done().any()
    write(other, rows_of(), range(2))
    other.remove_unfinished(keep_own=True)
    assert other.done().sum() == 2
    assert not writer.done().any()
    assert neighbour.done().sum() == 5
    other.remove_unfinished(keep_own=False)
    assert not other.done().any()


@pytest.mark.parametrize("damage", ["cut", "emptied", "longer", "header"])
def test_a_damaged_unfinished_file_is_begun_anew(writer, output, damage):
    tensors = rows_of()
    write(writer, tensors, range(5))
    (path,) = output.parent.glob(".*.partial")
    content = path.read_bytes()
    broken = {
        "cut": content[:-1],
        "emptied": b"",
        "longer": content + b"\1",
        "header": content.replace(b"F64", b"I64"),
    }
    path.write_bytes(broken[damage])
    assert not writer.done().any()
    write(writer, tensors, range(COUNT))
    writer.publish()
    np.testing.assert_array_equal(load_file(output)["adversarial"], tensors["adversarial"])


def test_a_damaged_file_is_not_read_and_made_anew(writer, output):
    write(writer, rows_of(), range(COUNT))
    writer.publish()
    content = bytearray(output.read_bytes())
    content[-1] ^= 1  # whether the last image changed
    output.write_bytes(content)
    assert not writer.is_complete()
    for read in (
        lambda: AttackFile(output).column("l2"),
        lambda: AttackFile(output).adversarial([0]),
    ):
        with pytest.raises(AdvdetectError, match="its checksum is another"):
            read()


def test_a_file_that_was_killed_on_its_way_to_its_place_is_whole(writer, output):
    write(writer, rows_of(), range(COUNT))
    (path,) = output.parent.glob(".*.partial")
    path.write_bytes(path.read_bytes()[:-COUNT])
    assert writer.done().all()
    writer.publish()
    assert writer.is_complete()


KILLED = """\
import sys, numpy as np
sys.path[:0] = {path!r}
from test_attack_file import AttackWriter, FACTS, IMAGE, rows_of, write
writer, tensors = AttackWriter({output!r}, 400, IMAGE, FACTS), rows_of(400)
for start in range(400):
    write(writer, tensors, range(start, start + 1))
    print(start, flush=True)
"""


@pytest.mark.parametrize(
    "after", [37, *(pytest.param(count, marks=pytest.mark.long) for count in (1, 150))]
)
def test_a_killed_writer_loses_at_most_what_it_was_at(output, after):
    path = [p for p in sys.path if p]
    program = KILLED.format(path=[os.path.dirname(__file__), *path], output=str(output))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        for _ in range(after):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    writer, tensors = AttackWriter(output, 400, IMAGE, FACTS), rows_of(400)
    done = writer.done()
    assert after <= done.sum() < 400
    for name, values in writer.columns("l2", "index", "success", "adversarial").items():
        np.testing.assert_array_equal(values[done], tensors[name][done])
    for rows in pieces(done, 50):
        write(writer, tensors, rows)
    writer.publish()
    for name, values in load_file(output).items():
        np.testing.assert_array_equal(values, tensors[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"l2": None}, "'l2' is missing, not F64 with a row for each of the 11 images"),
        ({"l2": np.zeros(10)}, r"'l2' is F64 \(10,\)"),
        ({"l2": np.zeros(11, np.float32)}, r"'l2' is F32 \(11,\)"),
        ({"adversarial": np.zeros((11, 30), np.float32)}, r"is not as a file of an attack must be"),
        ({"adversarial": None}, "is not as a file of an attack must be"),
    ],
)
def test_a_file_that_is_not_of_the_schema_is_refused(tmp_path, change, said):
    tensors = {name: value for name, value in (rows_of() | change).items() if value is not None}
    write_arrays(tmp_path / "file", tensors, FACTS)
    with pytest.raises(AdvdetectError, match=said) as error:
        AttackFile(tmp_path / "file")
    assert "\n" not in str(error.value)


def test_other_files_are_refused(tmp_path):
    write_arrays(tmp_path / "train", rows_of(), {"step": "train"})
    with pytest.raises(AdvdetectError, match="is no file of an attack"):
        AttackFile(tmp_path / "train")
    with pytest.raises(AdvdetectError, match="does not exist"):
        AttackFile(tmp_path / "none")
    whole = (tmp_path / "train").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-1])
    with pytest.raises(AdvdetectError, match="cannot be read"):
        AttackFile(tmp_path / "cut")


@pytest.mark.parametrize(
    "done",
    [
        [],
        [range(20)],
        [range(3)],
        [range(17, 20)],
        [range(2, 5), range(5, 6), range(9, 12)],
        [range(2, 9), range(4, 6), range(5, 11)],
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_pieces_are_what_is_not_done_once_each(done, size):
    flags = np.array([any(row in rows for rows in done) for row in range(20)])
    cut = pieces(flags, size)
    rows = [row for piece in cut for row in piece]
    assert rows == np.flatnonzero(~flags).tolist()
    assert all(0 < len(piece) <= size for piece in cut)


def test_a_piece_is_cut_in_the_same_places_when_others_before_it_are_done():
    """Jobs that start later claim the same pieces."""
    first = pieces(np.zeros(20, bool), 3)
    for count in range(len(first)):
        done = np.zeros(20, bool)
        done[: first[count].start] = True
        assert pieces(done, 3) == first[count:]
        done = np.zeros(20, bool)
        done[first[count].start : first[count].stop] = True
        assert pieces(done, 3) == first[:count] + first[count + 1 :]
