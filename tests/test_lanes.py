import pytest
import torch
from torch import Tensor

from advdetect.lanes import State, iterate


def countdown(lengths: list[int]) -> State:
    """Return lanes that are to be stepped on 3, 0, … times."""
    left = torch.tensor(lengths)
    return {"left": left, "name": torch.arange(len(left)) * 10, "done": left == 0}


def count_down(state: State) -> State:
    left = torch.where(state["done"], state["left"], state["left"] - 1)
    return state | {"left": left, "done": left == 0}


@pytest.mark.parametrize("every", [1, 2, 5])
def test_results_come_back_in_the_order_of_the_lanes(every: int) -> None:
    end = iterate(countdown([3, 0, 7, 1, 3]), count_down, keep=["name", "left"], every=every)
    assert end["name"].tolist() == [0, 10, 20, 30, 40]
    assert end["left"].tolist() == [0] * 5
    assert set(end) == {"name", "left"}


def test_done_lanes_leave_at_the_next_checkpoint_and_not_before() -> None:
    widths = []

    def step(state: State) -> State:
        widths.append(len(state["done"]))
        return count_down(state)

    iterate(countdown([3, 0, 7, 1, 3]), step, keep=[], every=2)
    # Steps 1 and 2 with four lanes; then 1 is gone; after four steps the 3s are gone, too.
    assert widths == [4, 4, 3, 3, 1, 1, 1, 1]


def test_check_runs_once_per_checkpoint_and_can_end_a_lane() -> None:
    calls = []

    def check(state: State) -> State:
        calls.append(state["left"].tolist())
        return state | {"done": state["done"] | (state["left"] <= 4)}

    end = iterate(countdown([6, 10]), count_down, keep=["left"], every=3, check=check)
    assert calls == [[3, 7], [4]]
    assert end["left"].tolist() == [3, 4]


def test_a_lane_is_kept_as_it_was_when_it_left() -> None:
    """A step in place on those that are left does not reach those that are gone."""
    state = {
        "value": torch.zeros(3, 2),
        "steps": torch.zeros(3, dtype=torch.int64),
        "length": torch.tensor([1, 4, 2]),
        "done": torch.zeros(3, dtype=torch.bool),
    }

    def step(state: State) -> State:
        state["value"] += 1
        state["steps"] += 1
        return state | {"done": state["steps"] >= state["length"]}

    end = iterate(state, step, keep=["value"], every=1)
    expected: Tensor = torch.tensor([[1.0, 1], [4, 4], [2, 2]])
    assert torch.equal(end["value"], expected)


def test_no_lanes_and_lanes_that_are_all_done_take_no_step() -> None:
    def step(state: State) -> State:
        raise AssertionError("there is nothing to be done")

    assert iterate(countdown([]), step, keep=["name"], every=1)["name"].shape == (0,)
    assert iterate(countdown([0, 0]), step, keep=["name"], every=1)["name"].tolist() == [0, 10]
