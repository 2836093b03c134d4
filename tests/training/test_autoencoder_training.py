"""A first layer that is trained as a sparse auto-encoder: its loss by hand, and what it stays."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.models.fully_connected import FullyConnected
from advdetect.models.small_cnn import SmallCNN
from advdetect.requirements.training import OPTIONS
from advdetect.training.autoencoder import SparseAutoencoder, divergence
from advdetect.training.loop import accuracy, train
from advdetect.training.unfinished import Unfinished


@pytest.fixture(scope="module")
def splits():
    return digits.load(test_fraction=0.4, split_seed=0)


def begun(splits, **options):
    """Return a network whose first layer has been trained, with the seeds that the step sets."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = FullyConnected(image_size=8, hidden=[40])
        first = model.classifier[1].weight.detach().clone()
        objective = SparseAutoencoder(**{"autoencoder_epochs": 10} | options)
        images, labels = objective.begin(model, splits["train"].images, splits["train"].labels)
    return model, first, objective, images, labels


def codes(model, images):
    with torch.no_grad():
        return model.classifier[1](model.features(to_float(images)).flatten(1)).sigmoid()


def test_the_divergence_is_that_of_two_coins():
    found = torch.tensor([0.02, 0.1, 0.7], dtype=torch.float64)
    expected = [entropy([0.1, 0.9], [rate, 1 - rate]) for rate in found.tolist()]
    np.testing.assert_allclose(divergence(0.1, found), expected, rtol=1e-9, atol=1e-12)
    assert divergence(0.1, torch.zeros(1)).isfinite()


def test_the_loss_is_reconstruction_sparsity_and_decay(splits, monkeypatch):
    """By hand in float64; training is replaced by looking at the objective."""
    seen = {}

    def look(_model, images, labels, *, objective, **_options):
        seen.update(objective=objective, images=to_float(images), labels=labels)
        seen["layers"] = list(_model)

    monkeypatch.setattr("advdetect.training.autoencoder.train", look)
    options = {"sparsity": 0.2, "sparsity_weight": 2.0, "autoencoder_decay": 0.1}
    begun(splits, **options)
    loss, _ = seen["objective"](None, seen["images"], seen["labels"])
    first, decoder = (layer.double() for layer in seen["layers"])
    pixels = seen["images"].double()
    code = first(((pixels - 0.1307) / 0.3081).flatten(1)).sigmoid()
    error = (decoder(code).sigmoid() - pixels.flatten(1)).square().sum(1).mean() / 2
    rates = code.mean(0).tolist()
    sparse = sum(entropy([0.2, 0.8], [rate, 1 - rate]) for rate in rates)
    squares = sum(layer.weight.square().sum() for layer in (first, decoder))
    assert loss.item() == pytest.approx((error + 2 * sparse + 0.05 * squares).item(), rel=1e-5)


def test_the_units_are_as_sparse_as_they_should_be_and_tell_of_the_pixels(splits):
    for sparsity in (0.05, 0.2):
        options = {"autoencoder_epochs": 30, "sparsity": sparsity, "sparsity_weight": 3.0}
        model, first, *_ = begun(splits, **options)
        found = codes(model, splits["train"].images).mean(0)
        assert (found - sparsity).abs().median() < 0.02
        assert not torch.equal(model.classifier[1].weight, first)


def trained(splits, **options):
    model, _, objective, images, labels = begun(
        splits, layer_decay=[0.0, 1e-6], autoencoder_decay=0.0
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = train(
        model, images, labels, objective=objective, epochs=6, batch_size=32,
        learning_rate=0.1, weight_decay=0.01, seed=1, **OPTIONS, **options,
    )  # fmt: skip
    return model, before, history


def test_the_first_layer_is_frozen_below_a_softmax_that_learns(splits):
    model, before, _ = trained(splits)
    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {"classifier.4.weight", "classifier.4.bias"}
    assert accuracy(model, splits["test"].images, splits["test"].labels) > 0.85


def test_a_killed_training_ends_with_the_same_bits(splits, tmp_path):
    """The auto-encoder is trained anew, the epochs above it are not."""

    class KilledError(Exception):
        pass

    def killed(epoch):
        if epoch["epoch"] == 3:
            raise KilledError

    whole, _, expected = trained(splits)
    unfinished = Unfinished(tmp_path / "model.safetensors", {"key": "one"})
    with pytest.raises(KilledError):
        trained(splits, unfinished=unfinished, after_epoch=killed)
    reported = []
    model, _, history = trained(splits, unfinished=unfinished, after_epoch=reported.append)
    assert history == expected
    assert reported == expected[3:]
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())


def test_it_trains_on_its_part_of_the_images_alone(splits):
    *_, images, labels = begun(splits, part="1/2", autoencoder_epochs=1)
    assert abs(len(images) - len(splits["train"]) / 2) <= 5
    assert len(labels) == len(images)


def test_a_model_without_such_a_layer_is_refused(splits):
    images, labels = splits["train"].images, splits["train"].labels
    for model in (SmallCNN(), FullyConnected(image_size=8, hidden=[]), nn.Linear(2, 2)):
        with pytest.raises(AdvdetectError, match="needs a model whose first layer is linear"):
            SparseAutoencoder().begin(model, images, labels)
