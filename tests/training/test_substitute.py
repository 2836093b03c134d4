"""The substitute of an oracle that has labels and nothing else."""

import numpy as np
import pytest
import torch

from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.models.fully_connected import FullyConnected
from advdetect.models.oracles.svm import SVM
from advdetect.models.small_cnn import SmallCNN
from advdetect.requirements.training import OPTIONS
from advdetect.training.substitute import Substitute, ask, labels_of
from advdetect.training.unfinished import Unfinished

LOOP = {"batch_size": 32, "learning_rate": 0.01, "weight_decay": 0.0, **OPTIONS}
SEED = 3


class LabelsAlone:
    """An oracle: no model, no scores, no gradient; it counts what it is asked."""

    def __init__(self, answer):
        self._answer = answer
        self.asked = []

    def __call__(self, images):
        assert images.dtype == torch.float32
        assert not images.requires_grad
        assert 0 <= images.min() <= images.max() <= 1
        self.asked.append(images)
        return self._answer(images)

    @property
    def queries(self):
        return sum(map(len, self.asked))


def brighter_half(images):
    """Class 0, or 1 where the right half of an image is the brighter one."""
    left, right = images.flatten(2).unflatten(2, (8, 8)).split(4, dim=3)
    return (right.mean((1, 2, 3)) > left.mean((1, 2, 3))).long()


@pytest.fixture(scope="module")
def splits():
    return digits.load(test_fraction=0.4, split_seed=0)


@pytest.fixture
def seed_set(splits):
    return splits["test"].images[:40]


def linear(classes=10, scale=1.0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = FullyConnected(
            num_classes=classes, image_size=8, hidden=(), mean=(0.0,), std=(1.0,)
        )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    return model.eval()


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return SmallCNN().eval()


def imitating(**options):
    return Substitute(oracle=LabelsAlone(brighter_half), **options)


def trained(
    images, oracle, *, labels=None, model=None, epochs=2, seed=SEED, unfinished=None, **options
):
    after_epoch = options.pop("after_epoch", lambda epoch: None)
    model = model or network()
    options = {"seed_images": len(images)} | options
    found = Substitute(oracle=oracle, **options).train(
        model,
        images,
        torch.arange(len(images)) % 10 if labels is None else labels,
        epochs=epochs,
        seed=seed,
        after_epoch=after_epoch,
        unfinished=unfinished,
        **LOOP,
    )
    return model, found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rounds": 1}, 40),
        ({"rounds": 4}, 40 * 2**3),
        ({"rounds": 6, "reservoir": 50, "reservoir_after": 2}, 40 * 2**2 + 50 * 3),
        ({"rounds": 3, "reservoir": 50, "reservoir_after": 2}, 40 * 2**2),
        ({"rounds": 4, "reservoir": 10, "reservoir_after": 0}, 40 + 10 * 3),
    ],
)
def test_the_oracle_is_asked_once_for_each_image(seed_set, options, expected):
    oracle = LabelsAlone(brighter_half)
    _, found = trained(seed_set, oracle, model=linear(2), epochs=1, **options)
    assert found[-1]["queries"] == oracle.queries == expected
    assert torch.equal(torch.cat(oracle.asked)[:40], to_float(seed_set))
    assert [epoch["round"] for epoch in found] == list(range(1, options["rounds"] + 1))


def test_by_default_it_is_what_the_paper_does(splits):
    """150 images, six rounds without a reservoir: 4,800 labels; ten epochs would be 60 records."""
    oracle = LabelsAlone(brighter_half)
    _, found = trained(splits["test"].images[:150], oracle, model=linear(2), epochs=2)
    assert found[-1]["queries"] == oracle.queries == 4800
    assert [epoch["epoch"] for epoch in found] == list(range(1, 13))
    assert [e["queries"] for e in found[::2]] == [150, 300, 600, 1200, 2400, 4800]


@pytest.mark.parametrize("scale", [1, 30])
def test_images_move_along_the_sign_of_a_hand_made_jacobian(seed_set, scale):
    """Of a linear model: ∂F_y/∂x = F_y (w_y − Σ_k F_k w_k), by NumPy in float64."""
    model, images = linear(scale=scale), to_float(seed_set)
    labels = torch.arange(40) % 10
    (weight, bias) = (p.detach().numpy().astype(np.float64) for p in model.parameters())
    x = images.flatten(1).numpy().astype(np.float64)
    logits = x @ weight.T + bias
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    jacobian = softmax[:, :, None] * (weight - (softmax @ weight)[:, None])
    row = jacobian[np.arange(40), labels.numpy()]
    expected = np.clip(x + 0.15 * np.sign(row), 0, 1)
    found = imitating(step_size=0.15).augment(model, images, labels, 1, SEED)
    assert found.shape == images.shape
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=1e-6)


def test_a_certain_substitute_has_a_direction_too(seed_set):
    """Where F_y is 1 in float32, its gradient is zero, and the image would be added once more."""
    model, images = linear(scale=1e4), to_float(seed_set)
    labels = labels_of(model)(images)
    assert (model(images).softmax(1).gather(1, labels[:, None]) == 1).any()
    found = imitating().augment(model, images, labels, 1, SEED)
    inside = (images > 0.1) & (images < 0.9)
    torch.testing.assert_close((found - images).abs()[inside], torch.full_like(images, 0.1)[inside])


def test_the_sign_of_the_step_alternates(seed_set):
    model, images = linear(), to_float(seed_set) * 0.5 + 0.25  # nothing is clipped
    labels = torch.arange(40) % 10
    always = imitating().augment(model, images, labels, 1, SEED) - images
    substitute = imitating(alternate_every=2)
    signs = []
    for number in range(1, 7):
        moved = substitute.augment(model, images, labels, number, SEED) - images
        signs.append(1 if torch.allclose(moved, always, atol=1e-6) else -1)
        torch.testing.assert_close(moved, signs[-1] * always)
    assert signs == [1, 1, -1, -1, 1, 1]


def test_the_reservoir_is_a_random_part_of_all(seed_set):
    model, images = linear(), to_float(seed_set)
    labels = torch.arange(40) % 10
    substitute = imitating(reservoir=15, reservoir_after=1)
    everything = substitute.augment(model, images, labels, 1, SEED)
    assert len(everything) == 40
    drawn = set()
    for number in (2, 3, 4, 5):
        part = substitute.augment(model, images, labels, number, SEED)
        same = (part[:, None] == everything).flatten(2).all(2)
        assert len(part) == 15
        assert torch.equal(same.sum(1), torch.ones(15, dtype=torch.int64))
        drawn |= set(same.nonzero()[:, 1].tolist())
    assert len(drawn) > 30


def test_each_round_begins_with_the_same_weights(seed_set, monkeypatch):
    from advdetect.training import substitute

    begun, train = [], substitute.train
    monkeypatch.setattr(
        substitute,
        "train",
        lambda model, images, *rest, **options: (
            begun.append({name: value.clone() for name, value in model.state_dict().items()})
            or train(model, images, *rest, **options)
        ),
    )
    trained(seed_set, LabelsAlone(brighter_half), rounds=3)
    fresh = network().state_dict()
    assert len(begun) == 3
    assert all(torch.equal(state[name], fresh[name]) for state in begun for name in fresh)


def test_it_is_repeatable_to_the_bit(seed_set):
    options = {"rounds": 3, "reservoir": 20, "reservoir_after": 1}
    (first, said), (second, again) = (
        trained(seed_set, LabelsAlone(brighter_half), **options) for _ in range(2)
    )
    other, _ = trained(seed_set, LabelsAlone(brighter_half), seed=SEED + 1, **options)
    states = [model.state_dict() for model in (first, second, other)]
    assert said == again
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


class KilledError(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize("last", [1, 2, 3, 4, 6])
def test_a_killed_training_goes_on_after_its_last_epoch(seed_set, tmp_path, last):
    """In the middle and at the end of a round of two epochs, and after all of them."""
    options = {"rounds": 3, "reservoir": 20, "reservoir_after": 1}
    whole, expected = trained(seed_set, LabelsAlone(brighter_half), **options)
    unfinished = Unfinished(tmp_path / "model.safetensors", {"key": "one"})

    def killed(epoch):
        if epoch["epoch"] == last:
            raise KilledError

    with pytest.raises(KilledError):
        trained(
            *(seed_set, LabelsAlone(brighter_half)),
            **options,
            unfinished=unfinished,
            after_epoch=killed,
        )
    reported, oracle = [], LabelsAlone(brighter_half)
    model, found = trained(
        seed_set, oracle, **options, unfinished=unfinished, after_epoch=reported.append
    )
    assert found == expected
    assert reported == expected[last:]
    asked_after = {1: 40 + 20, 2: 40 + 20, 3: 20, 4: 20, 6: 0}  # by the epochs that had ended
    assert oracle.queries == asked_after[last]
    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in whole.state_dict().items())
    unfinished.remove()
    assert not any(tmp_path.iterdir())


def test_what_another_training_has_left_is_not_taken_up(seed_set, tmp_path):
    path = tmp_path / "model.safetensors"
    left = Unfinished(path, {"key": "another"})
    trained(seed_set, LabelsAlone(brighter_half), rounds=2, unfinished=left)
    oracle = LabelsAlone(brighter_half)
    own = Unfinished(path, {"key": "one"})
    _, found = trained(seed_set, oracle, rounds=2, unfinished=own)
    assert len(found) == 4
    assert oracle.queries == 80


def test_the_agreement_with_an_svm_rises_over_the_rounds(splits):
    """On images that neither was trained on, from 80 labels to 640; the substitute is linear."""
    svm = SVM().eval()
    svm.fit(splits["train"].images, splits["train"].labels, seed=0)
    oracle = labels_of(svm)
    held_out = to_float(splits["test"].images[80:])
    expected = oracle(held_out)
    agreement = []
    for rounds in (1, 2, 3, 4):
        options = {"model": linear(), "rounds": rounds, "epochs": 10}
        model, _ = trained(splits["test"].images[:80], oracle, **options)
        agreement.append((labels_of(model)(held_out) == expected).double().mean().item())
    assert agreement == sorted(agreement)
    assert agreement[0] + 0.1 < agreement[-1]
    assert agreement[-1] > 0.7


@pytest.mark.parametrize(
    ("oracle", "said"),
    [
        (lambda images: torch.zeros(len(images), 10), "must return one label for each image"),
        (lambda images: torch.zeros(len(images)), "must return one label for each image"),
        (lambda images: [0] * len(images), "must return one label for each image"),
        (lambda images: torch.zeros(3, dtype=torch.int64), "returned 3 labels for 40 images"),
    ],
)
def test_an_oracle_that_says_more_or_less_is_refused(seed_set, oracle, said):
    with pytest.raises(AdvdetectError, match=said):
        ask(oracle, to_float(seed_set))


def test_of_a_model_it_asks_for_labels_alone(splits):
    """What it says beside the label does not matter: logits of another size, the same bits."""
    model = linear(scale=10)
    images = splits["test"].images[:40]
    first, said = trained(images, model, rounds=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 2
    second, again = trained(images, model, rounds=2)
    assert said == again
    states = [found.state_dict() for found in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_seed_images_are_drawn_in_proportion_and_their_labels_are_not_learnt(splits):
    """The oracle's are: the substitute never sees the class that it does not name."""
    oracle, images = LabelsAlone(brighter_half), splits["test"].images
    labels = splits["test"].labels
    _, found = trained(images, oracle, labels=labels, rounds=1, seed_images=50)
    (asked,) = oracle.asked
    same = (asked[:, None] == to_float(images)).flatten(2).all(2)
    counts = torch.bincount(labels[same.int().argmax(1)], minlength=10)
    expected = 50 * torch.bincount(labels).double() / len(labels)
    assert len(asked) == 50
    assert ((counts - expected).abs() <= 1).all()
    assert found[-1]["queries"] == 50


def test_more_seed_images_than_there_are_is_refused(seed_set):
    with pytest.raises(AdvdetectError, match=r"seed_images=50, but there are only 40 images"):
        trained(seed_set, LabelsAlone(brighter_half), seed_images=50)
