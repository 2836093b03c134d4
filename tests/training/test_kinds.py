"""What a kind of training is: a loss for the loop, or a method of its own."""

import pytest
import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.requirements.training import OPTIONS
from advdetect.training import kinds
from advdetect.training.noise import Noise
from advdetect.training.standard import Standard

LOOP = {"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.0}
KIND = {"_title_": "A kind", "_others_": {"oracle": None}, "_unused_": True}


class Told:
    """A method of its own, which remembers what it is told."""

    rounds = 4

    def __init__(self, *, strength, oracle):
        self.made_with = (strength, oracle)

    def train(self, *arguments, **settings):
        self.told = (arguments, settings)
        return [{"epoch": 1}]


class Loss(nn.Module):
    """A loss that is a module has a method `train` as well, and is no method of its own."""

    def forward(self, model, images, labels):
        logits = model(images)
        return nn.functional.cross_entropy(logits, labels), logits


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return images, torch.arange(16) % 2


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def test_a_kind_is_made_with_its_settings_and_other_models():
    training = LOOP | KIND | {"_target_": f"{__name__}.Told", "strength": 2}
    oracle = net()
    kind = kinds.make(training, {"oracle": oracle})
    assert kind.made_with == (2, oracle)
    assert isinstance(kinds.make(LOOP, {}), Standard)
    noise = {"_target_": "advdetect.training.noise.Noise", "sigma": 0.5}
    assert isinstance(kinds.make(LOOP | noise, {}), Noise)
    with pytest.raises(AdvdetectError, match=r"training: .*Told failed with TypeError"):
        kinds.make(training, {})


def test_a_method_of_its_own_is_told_all_that_the_loop_is(split):
    kind, model = Told(strength=1, oracle=None), net()
    more = {"seed": 5, "after_epoch": print, "unfinished": None}
    assert kinds.train_as(kind, model, *split, LOOP | KIND, **more) == [{"epoch": 1}]
    assert kind.told == ((model, *split), LOOP | OPTIONS | more)
    assert kinds.epochs_of(kind, LOOP) == 3 * 4


@pytest.mark.parametrize("kind", [Standard(), Loss()])
def test_a_loss_is_what_the_loop_minimises(split, kind):
    model, plain = net(), net()
    history = kinds.train_as(kind, model, *split, LOOP, seed=1)
    assert len(history) == kinds.epochs_of(kind, LOOP) == 3
    assert history == kinds.train(plain, *split, objective=Standard(), seed=1, **LOOP, **OPTIONS)


def test_a_loss_may_choose_the_images(split):
    half = kinds.train_as(Standard(part="1/2"), net(), *split, LOOP, seed=1)
    rows = torch.arange(16) // 2 % 2 == 0  # every second image of a class
    images, labels = (values[rows] for values in split)
    expected = kinds.train(net(), images, labels, objective=Standard(), seed=1, **LOOP, **OPTIONS)
    assert half == expected
