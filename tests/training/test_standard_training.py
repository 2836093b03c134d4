import pytest
import torch

from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.training.standard import accuracy, batch_sizes


@pytest.fixture(scope="module")
def splits():
    return digits.load(test_fraction=0.4, split_seed=0)


def test_digits_reach_96_percent_and_the_loss_falls(splits, train_on_digits):
    model, history = train_on_digits(splits["train"], epochs=30)
    assert accuracy(model, splits["test"].images, splits["test"].labels) >= 0.96
    assert [epoch for epoch, *_ in history] == list(range(1, 31))
    assert history[-1][1] < history[0][1] / 10
    assert not model.training


def test_same_seed_gives_the_same_bits_and_leaves_the_global_state(splits, train_on_digits):
    state = torch.random.get_rng_state()
    first, second, other = (
        train_on_digits(splits["train"], epochs=2, seed=seed)[0].state_dict() for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.4.weight"], other["classifier.4.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_accuracy_counts(splits, train_on_digits):
    labels = splits["test"].labels.clone()
    model = train_on_digits(splits["train"], epochs=2)[0]
    predictions = model(splits["test"].images.float() / 255).argmax(1)
    expected = (predictions == labels).double().mean().item()
    assert accuracy(model, splits["test"].images, labels) == pytest.approx(expected, abs=1e-12)


def test_a_training_that_diverges_is_refused(splits, train_on_digits):
    with pytest.raises(
        AdvdetectError, match=r"diverged: the mean loss of epoch 1 is nan.*learning"
    ):
        train_on_digits(splits["train"], epochs=1, learning_rate=1e30)


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(6, 3, [3, 3]), (7, 3, [3, 4]), (8, 3, [3, 3, 2]), (2, 3, [2]), (1, 3, [1]), (5, 2, [2, 3])],
)
def test_no_batch_is_of_one_image(count, size, expected):
    """Batch norm refuses that while it trains."""
    assert batch_sizes(count, size) == expected
