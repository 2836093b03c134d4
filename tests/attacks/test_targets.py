import pytest
import torch

from advdetect.attacks.targets import Target, choose_target, largest_wrong_classes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

LABELS = torch.arange(40) % 4
LOGITS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def choose(target: Target, rows: slice = slice(None)) -> torch.Tensor:
    generator = SampleGenerator(5, range(40))[rows]
    return choose_target(target, LOGITS[rows], LABELS[rows], generator)


@pytest.mark.parametrize("target", ["random", "next", "least_likely"])
def test_is_a_wrong_class_that_belongs_to_the_image_and_not_to_the_batch(target: Target) -> None:
    whole = choose(target)
    assert whole.dtype == torch.int64
    assert ((whole >= 0) & (whole < 4)).all()
    assert (whole != LABELS).all()
    alone = [choose(target, slice(row, row + 1)) for row in range(40)]
    assert torch.equal(torch.cat(alone), whole)


def test_next_is_the_class_after_the_label_and_the_first_after_the_last() -> None:
    assert choose("next")[:5].tolist() == [1, 2, 3, 0, 1]


def test_least_likely_is_the_least_probable_of_the_wrong_classes() -> None:
    for row, target in enumerate(choose("least_likely").tolist()):
        wrong = [k for k in range(4) if k != LABELS[row]]
        assert target == min(wrong, key=lambda k: float(LOGITS[row, k]))


def test_random_takes_every_wrong_class() -> None:
    shifts = (choose("random") - LABELS) % 4
    assert set(shifts.tolist()) == {1, 2, 3}


def test_only_random_draws_from_the_streams() -> None:
    for target, draws in (("next", False), ("least_likely", False), ("random", True)):
        generator = SampleGenerator(5, range(40))
        choose_target(target, LOGITS, LABELS, generator)
        untouched = SampleGenerator(5, range(40))
        assert torch.equal(generator.integers(1000), untouched.integers(1000)) != draws


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (2, 2), (9, 3), (None, 3)])
def test_the_wrong_classes_of_the_largest_logits(count: int | None, expected: int) -> None:
    found = largest_wrong_classes(LOGITS, LABELS, count)
    for row, classes in enumerate(found.tolist()):
        wrong = [k for k in range(4) if k != LABELS[row]]
        assert classes == sorted(wrong, key=lambda k: -float(LOGITS[row, k]))[:expected]


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="random, next, least_likely, not 'nearest'"):
        choose("nearest")  # type: ignore[arg-type]
