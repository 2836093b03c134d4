"""Chunks on disk: what is missing, what is read back, and claims on work."""

import threading

import pytest
import torch

from advdetect.io import write_tensors
from advdetect.steps.chunks import Chunks, gaps


def rows_of(numbers: range) -> dict[str, torch.Tensor]:
    return {"row": torch.tensor(list(numbers)), "square": torch.tensor(list(numbers)) ** 2}


@pytest.fixture
def chunks(tmp_path) -> Chunks:
    return Chunks(tmp_path / "attacks" / "mine.safetensors", "key")


@pytest.mark.parametrize(
    "covered",
    [
        [],
        [range(20)],
        [range(3)],
        [range(17, 20)],
        [range(2, 5), range(5, 6), range(9, 12)],
        [range(2, 9), range(4, 6), range(5, 11)],  # overlapping
        [range(4, 30)],  # more than is asked for
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_gaps_are_what_is_not_covered_once_each(covered, size):
    pieces = list(gaps(covered, range(1, 20), size))
    rows = [row for piece in pieces for row in piece]
    assert rows == [row for row in range(1, 20) if not any(row in done for done in covered)]
    assert all(0 < len(piece) <= size for piece in pieces)


def test_a_piece_is_cut_in_the_same_places_when_others_before_it_are_done():
    """Jobs that start later claim the same pieces."""
    first = list(gaps([], range(20), 3))
    for done in range(len(first)):
        assert list(gaps(first[:done], range(20), 3)) == first[done:]
        assert list(gaps([first[done]], range(20), 3)) == first[:done] + first[done + 1 :]


def test_rows_are_read_back_however_the_chunks_are_cut(chunks):
    for rows in (range(5), range(3, 8), range(8, 9), range(4, 6), range(12, 15)):
        chunks.write(rows, rows_of(rows))
    for rows in (range(9), range(2, 4), range(4, 9), range(12, 13), range(8, 9)):
        assert chunks.cover(rows)
        read = chunks.read(rows)
        assert read["row"].tolist() == list(rows)
        assert read["square"].tolist() == [row**2 for row in rows]
    assert not chunks.cover(range(8, 13))


def test_chunks_of_another_key_and_damaged_ones_are_removed(chunks):
    other = Chunks(chunks.output, "another key")
    another_attack = Chunks(chunks.output.with_name("other.safetensors"), "key")
    for store in (chunks, other, another_attack):
        store.write(range(5), rows_of(range(5)))
        store.write(range(5, 9), rows_of(range(5, 9)))
    (damaged,) = (chunks.output.parent / ".chunks").glob("mine/key/5-9.safetensors")
    damaged.write_bytes(damaged.read_bytes()[:-3])
    chunks.remove_unusable()
    assert chunks.ranges() == [range(5)]
    assert other.ranges() == []
    assert another_attack.ranges() == [range(5), range(5, 9)]


def test_the_last_attack_removes_the_folder(chunks, tmp_path):
    other = Chunks(chunks.output.with_name("other.safetensors"), "key")
    for store in (chunks, other):
        store.write(range(5), rows_of(range(5)))
    with chunks.claim("work", wait=False):
        pass
    chunks.remove()
    assert chunks.ranges() == []
    assert other.ranges() == [range(5)]
    other.remove()
    assert list((tmp_path / "attacks").iterdir()) == []
    other.remove()  # nothing is there


def test_an_attack_is_complete_with_the_same_key_only(chunks):
    assert not chunks.complete()
    write_tensors(chunks.output, rows_of(range(2)), {"key": "key"})
    assert chunks.complete()
    assert not Chunks(chunks.output, "another key").complete()
    chunks.output.write_bytes(chunks.output.read_bytes()[:-3])
    assert not chunks.complete()


def test_work_is_claimed_by_one_and_given_back(chunks):
    other = Chunks(chunks.output.with_name("other.safetensors"), "key")
    with chunks.claim("work", wait=False) as first, other.claim("work", wait=False) as second:
        assert first
        assert not second
        with other.claim("other work", wait=False) as third:
            assert third
    with other.claim("work", wait=False) as again:
        assert again


def test_a_claim_can_be_waited_for(chunks):
    order = []

    def wait() -> None:
        with chunks.claim("work", wait=True) as mine:
            order.append("second" if mine else "never")

    with chunks.claim("work", wait=False):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
