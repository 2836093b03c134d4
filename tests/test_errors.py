import pytest

from advdetect.errors import AdvdetectError, explain_failure


class OutOfMemoryError(RuntimeError):
    """Named as PyTorch's."""


def deep():
    raise ValueError("two\nlines")


def test_a_failure_of_a_users_code_is_one_sentence_with_its_place():
    with pytest.raises(AdvdetectError) as caught, explain_failure("The attack x"):
        deep()
    place = f"({__file__}, line {deep.__code__.co_firstlineno + 1})"
    start = f"The attack x failed with ValueError: two lines {place}. With ADVDETECT_TRACEBACK=1 "
    assert str(caught.value).startswith(start)
    assert isinstance(caught.value.__cause__, ValueError)


def test_too_little_memory_has_a_remedy():
    said = r"OutOfMemoryError \(.*\); take a lower memory or batch_size\."
    with pytest.raises(AdvdetectError, match=said), explain_failure("The attack x"):
        raise OutOfMemoryError


def test_what_is_explained_already_stays():
    with pytest.raises(AdvdetectError, match=r"^mine$"), explain_failure("The attack x"):
        raise AdvdetectError("mine")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stop_is_no_failure(stop):
    with pytest.raises(stop), explain_failure("The attack x"):
        raise stop
