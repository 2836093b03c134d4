import torch

from advdetect.attacks.bisection import bisect_smallest


def test_finds_each_threshold_from_above() -> None:
    threshold = torch.tensor([0.1, 0.5, 3.0, 7.99], dtype=torch.float64)
    upper = torch.tensor([1.0, 1.0, 8.0, 8.0], dtype=torch.float64)
    value, found = bisect_smallest(lambda x: x >= threshold, upper, steps=30)
    assert found.all()
    assert (value >= threshold).all()
    torch.testing.assert_close(value, threshold, rtol=0, atol=8 * 2**-30)


def test_error_is_halved_at_each_step() -> None:
    upper = torch.tensor([1.0])
    for steps in range(1, 12):
        value, _ = bisect_smallest(lambda x: x >= 1 / 3, upper, steps)
        assert 0 <= float(value) - 1 / 3 <= 2.0**-steps


def test_returns_zero_where_the_condition_holds_from_the_start() -> None:
    value, found = bisect_smallest(lambda x: x >= 0, torch.tensor([1.0, 5.0]), steps=10)
    assert value.tolist() == [0, 0]
    assert found.all()


def test_returns_the_upper_end_where_the_condition_never_holds() -> None:
    value, found = bisect_smallest(lambda x: x > 10, torch.tensor([1.0, 5.0]), steps=10)
    assert value.tolist() == [1, 5]
    assert not found.any()


def test_what_is_found_has_passed_the_condition_also_where_it_changes_twice() -> None:
    def holds(x: torch.Tensor) -> torch.Tensor:
        return (x > 0.4) & (x < 0.9)

    value, found = bisect_smallest(holds, torch.tensor([1.0]), steps=20)
    assert found.all()
    assert holds(value).all()
