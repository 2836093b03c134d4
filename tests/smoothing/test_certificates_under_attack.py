"""No attack of ours finds an image inside a certified radius that g gives another class."""

import pytest
import torch
from torch import nn

from advdetect.attacks.bim import bim
from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.smoothed_bim import smoothed_bim
from advdetect.data import digits
from advdetect.inference import to_float
from advdetect.randomness import SampleGenerator
from advdetect.requirements.training import OPTIONS
from advdetect.smoothing.certificates import ABSTAIN, certify, predict
from advdetect.smoothing.counting import Noisy, count_classes
from advdetect.training.loop import train
from advdetect.training.noise import Noise

SIGMA, ALPHA = 0.2, 0.001
DRAWS = {"selection": 100, "estimation": 1000}
COUNT = 100


def counted(model, images, draws):
    noisy = Noisy(lambda row: images[row], range(len(images)), SIGMA, draws, seed=3)
    counts = count_classes(model, noisy, batch_size=1000, device=torch.device("cpu"))
    return [counts.of(use, len(images), 10) for use in draws]


@pytest.fixture(scope="module")
def model_and_digits():
    """A net so small that a hundred thousand passes take no time."""
    splits = digits.load(test_fraction=0.4, split_seed=0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
    given = {"epochs": 15, "batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.0005}
    split, objective = splits["train"], Noise(sigma=SIGMA)
    train(model, split.images, split.labels, objective=objective, seed=0, **OPTIONS, **given)
    return model.eval(), to_float(splits["test"].images[:COUNT]), splits["test"].labels[:COUNT]


@pytest.fixture(scope="module")
def certificates(model_and_digits):
    model, images, _ = model_and_digits
    return certify(*counted(model, images, DRAWS), alpha=ALPHA, sigma=SIGMA)


ATTACKS = {
    f"{name}, {epsilon}": (attack, {"epsilon": epsilon, "steps": 10, **options})
    for epsilon in (0.1, 0.2, 0.3, 0.4)
    for name, attack, options in (
        ("f", bim, {"norm": "l2"}),
        ("g", smoothed_bim, {"sigma": SIGMA, "draws": 8}),
    )
} | {"least": (deepfool, {})}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_changes_a_certified_class(name, model_and_digits, certificates):
    model, images, labels = model_and_digits
    attack, options = ATTACKS[name]
    generator = SampleGenerator(5, range(COUNT))
    adversarial = attack(model, images, labels, generator=generator, **options).adversarial
    (counts,) = counted(model, adversarial, {"prediction": 1000})
    predicted = predict(counts, ALPHA)
    norms = torch.linalg.vector_norm((adversarial - images).double().flatten(1), dim=1).numpy()
    inside = (norms < certificates.radius) & (certificates.classes != ABSTAIN)
    assert inside.any(), "the test needs certified images"
    changed = (predicted != certificates.classes) & (predicted != ABSTAIN)
    assert not (inside & changed).any()


def test_attacks_do_change_classes_beyond_the_radius(model_and_digits, certificates):
    """Or else the test above would say nothing."""
    model, images, labels = model_and_digits
    adversarial = smoothed_bim(
        model,
        images,
        labels,
        generator=SampleGenerator(5, range(COUNT)),
        epsilon=2.0,
        sigma=SIGMA,
        draws=8,
    ).adversarial
    (counts,) = counted(model, adversarial, {"prediction": 1000})
    certified = certificates.classes != ABSTAIN
    changed = predict(counts, ALPHA) != certificates.classes
    assert changed[certified].mean() > 0.5
