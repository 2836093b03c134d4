import pytest
import torch

from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.training.loop import accuracy, batch_sizes
from advdetect.training.unfinished import Unfinished


@pytest.fixture(scope="module")
def splits():
    return digits.load(test_fraction=0.4, split_seed=0)


def test_digits_reach_96_percent_and_the_loss_falls(splits, train_on_digits):
    model, history = train_on_digits(splits["train"], epochs=30)
    assert accuracy(model, splits["test"].images, splits["test"].labels) >= 0.96
    assert [epoch["epoch"] for epoch in history] == list(range(1, 31))
    assert history[-1]["loss"] < history[0]["loss"] / 10
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


class KilledError(Exception):
    """What ends a training in the middle."""


def killed_after(last):
    def after_epoch(epoch):
        if epoch["epoch"] == last:
            raise KilledError

    return after_epoch


def test_a_killed_training_goes_on_after_its_last_epoch(splits, train_on_digits, tmp_path):
    """With dropout, whose random state it takes up as well; killed twice, in different epochs."""
    whole, expected = train_on_digits(splits["train"], epochs=5)
    folder = tmp_path / "lenet5-seed0.0123456789ab"  # as in the store, named by the key
    unfinished = Unfinished(folder / "model.safetensors", {"key": "0123456789ab"})
    for last in (2, 3):
        with pytest.raises(KilledError):
            train_on_digits(
                splits["train"], epochs=5, unfinished=unfinished, after_epoch=killed_after(last)
            )
    reported = []
    model, history = train_on_digits(
        splits["train"], epochs=5, unfinished=unfinished, after_epoch=reported.append
    )
    assert history == expected
    assert reported == expected[3:]
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())
    unfinished.remove()
    assert not any(folder.iterdir())


@pytest.mark.parametrize("what", ["another training", "a damaged file"])
def test_what_cannot_be_taken_up_begins_anew(splits, train_on_digits, tmp_path, what):
    path = tmp_path / "model.safetensors"
    with pytest.raises(KilledError):
        train_on_digits(
            splits["train"],
            epochs=2,
            unfinished=Unfinished(path, {"key": "one"}),
            after_epoch=killed_after(1),
        )
    (left,) = tmp_path.iterdir()
    if what == "a damaged file":
        left.write_bytes(left.read_bytes()[:-5])
    facts = {"key": "another" if what == "another training" else "one"}
    model, history = train_on_digits(
        splits["train"], epochs=2, unfinished=Unfinished(path, facts), seed=1
    )
    expected = train_on_digits(splits["train"], epochs=2, seed=1)[0].state_dict()
    assert len(history) == 2
    assert all(torch.equal(model.state_dict()[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(6, 3, [3, 3]), (7, 3, [3, 4]), (8, 3, [3, 3, 2]), (2, 3, [2]), (1, 3, [1]), (5, 2, [2, 3])],
)
def test_no_batch_is_of_one_image(count, size, expected):
    """Batch norm refuses that while it trains."""
    assert batch_sizes(count, size) == expected
