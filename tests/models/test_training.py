import pytest
import torch

from advdetect.data import digits
from advdetect.models.small_cnn import SmallCNN
from advdetect.models.training import accuracy, train


@pytest.fixture(scope="module")
def splits():
    return digits.load(test_fraction=0.4, split_seed=0)


def trained(split, seed, epochs):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SmallCNN(dropout=0.25)
    history = []
    train(
        model,
        split.images,
        split.labels,
        epochs=epochs,
        batch_size=64,
        learning_rate=0.004,
        weight_decay=0.0005,
        seed=seed,
        after_epoch=lambda *values: history.append(values),
    )
    return model, history


def test_digits_reach_96_percent_and_the_loss_falls(splits):
    model, history = trained(splits["train"], 0, 30)
    assert accuracy(model, splits["test"].images, splits["test"].labels) >= 0.96
    assert [epoch for epoch, *_ in history] == list(range(1, 31))
    assert history[-1][1] < history[0][1] / 10
    assert not model.training


def test_same_seed_gives_the_same_bits_and_leaves_the_global_state(splits):
    state = torch.random.get_rng_state()
    first, second = (trained(splits["train"], 3, 2)[0].state_dict() for _ in range(2))
    other = trained(splits["train"], 4, 2)[0].state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["classifier.4.weight"], other["classifier.4.weight"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_accuracy_counts(splits):
    labels = splits["test"].labels.clone()
    model = trained(splits["train"], 0, 2)[0]
    predictions = model(splits["test"].images.float() / 255).argmax(1)
    expected = (predictions == labels).double().mean().item()
    assert accuracy(model, splits["test"].images, labels) == pytest.approx(expected, abs=1e-12)
