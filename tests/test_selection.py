import numpy as np
import pytest

from advdetect.selection import evenly_spread


@pytest.mark.parametrize("limit", [1, 3, 10, 99, 100])
def test_evenly_spread_rows_leave_gaps_that_differ_by_one_at_most(limit: int) -> None:
    rows = evenly_spread(100, limit)
    assert len(rows) == limit
    gaps = np.diff([*rows.tolist(), 100])
    assert rows[0] == 0
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("limit", [None, 7, 8])
def test_all_rows_where_there_are_no_more(limit: int | None) -> None:
    assert evenly_spread(7, limit).tolist() == list(range(7))


def test_of_no_rows_none() -> None:
    assert evenly_spread(0, 3).tolist() == []
