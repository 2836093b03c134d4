"""What each kind of training minimises, against the definition."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from advdetect.attacks.fgsm import fgsm
from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.models.small_cnn import SmallCNN
from advdetect.randomness import SampleGenerator
from advdetect.training.adversarial import Adversarial
from advdetect.training.distillation import Distillation
from advdetect.training.loop import accuracy
from advdetect.training.noise import Noise
from advdetect.training.standard import Standard, mirrored, part_of, shifted

FGSM = {"_target_": "advdetect.attacks.fgsm.fgsm", "epsilon": 0.2}


@pytest.fixture(scope="module")
def split():
    return digits.load(test_fraction=0.4, split_seed=0)["train"]


@pytest.fixture
def batch(split):
    return to_float(split.images[:32]), split.labels[:32]


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SmallCNN(dropout=0.0).train()


def cross_entropy(logits, labels):
    """By hand, in float64."""
    logits = logits.double()
    return (logits.logsumexp(1) - logits[torch.arange(len(labels)), labels]).mean()


def test_standard_is_the_cross_entropy(model, batch):
    loss, logits = Standard()(model, *batch)
    torch.testing.assert_close(logits, model(batch[0]), rtol=0, atol=0)
    assert loss.item() == pytest.approx(cross_entropy(logits, batch[1]).item(), rel=1e-6)


def test_layer_decay_is_the_sum_over_layers_by_units(batch):
    """λ Σ w²/k of each layer, biases left out, by NumPy on a network of two layers."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.Sigmoid(), nn.Linear(7, 10))
    plain = Standard()(model, *batch)[0].item()
    first, second = (model[i].weight.detach().numpy().astype(np.float64) for i in (1, 3))
    expected = 1e-2 * (first**2).sum() / 7 + 1e-3 * (second**2).sum() / 10
    found = Standard(layer_decay=[1e-2, 1e-3])(model, *batch)[0].item() - plain
    assert found == pytest.approx(expected, rel=1e-3)
    same = Standard(layer_decay=0.5)(model, *batch)[0].item() - plain
    assert same == pytest.approx(0.5 * ((first**2).sum() / 7 + (second**2).sum() / 10), rel=1e-5)
    with pytest.raises(AdvdetectError, match="has 3 values, but the model has 2 layers"):
        Standard(layer_decay=[1.0, 1.0, 1.0])(model, *batch)


def test_a_temperature_is_that_of_the_softmax_alone(model, batch):
    loss, logits = Standard(temperature=7.0)(model, *batch)
    torch.testing.assert_close(logits, model(batch[0]), rtol=0, atol=0)
    assert loss.item() == pytest.approx(cross_entropy(logits / 7, batch[1]).item(), rel=1e-6)


def test_parts_are_disjoint_and_have_their_share_of_every_class(split):
    parts = [part_of(split.labels, part, 3) for part in (1, 2, 3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(len(split)))
    counts = torch.stack([split.labels[rows].bincount(minlength=10) for rows in parts])
    assert (counts.max(0).values - counts.min(0).values).max() <= 1
    images, labels = Standard(part="2/3").begin(nn.Identity(), split.images, split.labels)
    assert torch.equal(images, split.images[parts[1]])
    assert torch.equal(labels, split.labels[parts[1]])
    images, labels = Standard().begin(nn.Identity(), split.images, split.labels)
    assert torch.equal(images, split.images)
    with pytest.raises(AdvdetectError, match="3/2 is none of 2 parts"):
        Standard(part="3/2")


def test_images_are_shifted_by_whole_pixels_and_mirrored():
    images = torch.rand(200, 2, 5, 6) + 1
    found = set()
    for image, moved in zip(images, shifted(images, 1), strict=True):
        matches = [
            (down, across)
            for down in (-1, 0, 1)
            for across in (-1, 0, 1)
            if torch.equal(moved, moved_by_hand(image, down, across))
        ]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 9
    turned = mirrored(images)
    is_turned = (turned == images.flip(3)).flatten(1).all(1)
    assert torch.equal(turned[~is_turned], images[~is_turned])
    assert 60 < is_turned.sum() < 140


def moved_by_hand(image, down, across):
    canvas = torch.zeros(image.shape[0], image.shape[1] + 2, image.shape[2] + 2)
    canvas[:, 1 : 1 + image.shape[1], 1 : 1 + image.shape[2]] = image
    top, left = 1 + down, 1 + across
    return canvas[:, top : top + image.shape[1], left : left + image.shape[2]]


def test_noise_is_normal_and_not_clipped(batch):
    seen = []

    class Watching(nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.flatten(1)[:, :10]

    images, labels = batch[0].repeat(20, 1, 1, 1), batch[1].repeat(20)
    Noise(sigma=0.5)(Watching(), images, labels)
    noise = (seen[0] - images).double()
    assert noise.mean().abs() < 0.01
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.flatten()[:1000].abs().max() > 1
    assert seen[0].min() < 0
    assert seen[0].max() > 1


def test_adversarial_training_is_on_images_crafted_for_these_weights(model, batch):
    """Against FGSM on a copy of the model, in eval mode; the losses by hand."""
    images, labels = batch
    copied = copy.deepcopy(model).eval()
    generator = SampleGenerator(0, range(len(images)))
    expected = fgsm(copied, images, labels, generator=generator, epsilon=0.2).adversarial
    for alpha in (0.5, 0.2, 0.0):
        loss, logits = Adversarial(alpha=alpha, attack=FGSM)(model, images, labels)
        clean, attacked = (cross_entropy(model(each), labels).item() for each in (images, expected))
        assert loss.item() == pytest.approx(alpha * clean + (1 - alpha) * attacked, rel=1e-5)
        shown = model(expected if alpha == 0 else images)
        torch.testing.assert_close(logits, shown)
    assert model.training
    loss.backward()  # through the model's weights, not through the crafting
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_student_learns_the_probabilities_of_its_teacher_at_their_temperature(model, batch):
    """The loss by hand in float64, and that no gradient reaches the teacher."""
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad():
        for weights in teacher.parameters():
            weights.mul_(3)
    loss, logits = Distillation(teacher=teacher, temperature=5.0)(model, *batch)
    soft = (teacher(batch[0]).double() / 5).softmax(1)
    own = (logits.double() / 5).log_softmax(1)
    assert loss.item() == pytest.approx(-(soft * own).sum(1).mean().item(), rel=1e-6)
    loss.backward()
    assert all(weights.grad is None for weights in teacher.parameters())


def test_a_student_at_temperature_one_is_as_good_as_standard_training(split, train_on_digits):
    """To within the binomial noise of the test images; its teacher is what it is compared with."""
    test = digits.load(test_fraction=0.4, split_seed=0)["test"]
    teacher, _ = train_on_digits(split, epochs=8, objective=Standard())
    teacher.eval().requires_grad_(False)
    objective = Distillation(teacher=teacher, temperature=1.0)
    student, _ = train_on_digits(split, epochs=8, seed=1, objective=objective)
    found = [accuracy(each, test.images, test.labels) for each in (teacher, student)]
    deviation = np.sqrt(2 * found[0] * (1 - found[0]) / len(test))
    assert found[0] > 0.95
    assert abs(found[1] - found[0]) < 3 * deviation


def test_the_gradient_of_a_distilled_model_s_probabilities_vanishes(split, train_on_digits):
    """Its logits are about T times as large, so that float32 probabilities are exactly one."""
    zero = {}
    images = to_float(split.images[:200])
    for temperature in (1.0, 50.0):
        options = {"epochs": 8, "dropout": 0.0}
        teacher, _ = train_on_digits(split, objective=Standard(temperature=temperature), **options)
        teacher.eval().requires_grad_(False)
        objective = Distillation(teacher=teacher, temperature=temperature)
        student, _ = train_on_digits(split, objective=objective, **options)
        inputs = images.clone().requires_grad_()
        student(inputs).softmax(1).amax(1).sum().backward()
        zero[temperature] = (inputs.grad == 0).flatten(1).all(1).double().mean().item()
    assert zero[1.0] < 0.05
    assert zero[50.0] > 0.5


def test_adversarial_training_makes_a_model_robust(split, train_on_digits):
    """Under the attack that it was trained with, on images that it has not seen."""
    test = digits.load(test_fraction=0.4, split_seed=0)["test"]
    images, labels = to_float(test.images), test.labels
    robust = {}
    for name, objective in {
        "standard": Standard(),
        "adversarial": Adversarial(alpha=0.5, attack=FGSM),
    }.items():
        model, _ = train_on_digits(split, epochs=8, objective=objective)
        generator = SampleGenerator(0, range(len(images)))
        attacked = fgsm(model, images, labels, generator=generator, epsilon=0.2).adversarial
        with torch.no_grad():
            robust[name] = (model(attacked).argmax(1) == labels).double().mean().item()
            clean = (model(images).argmax(1) == labels).double().mean().item()
        assert clean > 0.9
    assert robust["adversarial"] > robust["standard"] + 0.2


@pytest.mark.parametrize(
    "objective",
    [Standard(shift=1, mirror=True), Noise(sigma=0.2), Adversarial(alpha=0.5, attack=FGSM)],
)
def test_every_kind_is_repeatable_to_the_bit(split, train_on_digits, objective):
    first, second = (
        train_on_digits(split, epochs=1, objective=objective)[0].state_dict() for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
