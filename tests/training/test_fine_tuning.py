"""Training that goes on from given weights: its first step by hand, and what stays as it is."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.training.fine_tuning import FineTuning
from advdetect.training.kinds import train_as
from advdetect.training.unfinished import Unfinished

LOOP = {"epochs": 4, "batch_size": 16, "learning_rate": 0.25, "weight_decay": 0.1}
STANDARD = {"_target_": "advdetect.training.standard.Standard"}
FGSM = {"_target_": "advdetect.attacks.fgsm.fgsm", "epsilon": 0.1}
ADVERSARIAL = {"_target_": "advdetect.training.adversarial.Adversarial", "alpha": 0.5}


def net(seed, classes=3, dropout=0.0, dropped=0.0):
    """A network with batch norm, and dropout within its trunk and within its head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trunk = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout)]
        head = [nn.Flatten(), nn.Dropout(dropped), nn.Linear(16, classes)]
        parts = OrderedDict(features=nn.Sequential(*trunk), head=nn.Sequential(*head))
        return nn.Sequential(parts).eval()


def states(model):
    return {name: values.clone() for name, values in model.state_dict().items()}


@pytest.fixture(scope="module")
def given():
    """Weights that were trained before, with statistics of batch norm of their own."""
    model = net(1)
    generator = torch.Generator().manual_seed(1)
    model.features[1].running_mean.copy_(torch.randn(4, generator=generator))
    model.features[1].running_var.copy_(torch.rand(4, generator=generator) + 0.5)
    return states(model)


@pytest.fixture(scope="module")
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return images, torch.arange(16) % 3


class StoppedError(Exception):
    """What ends a training in the middle."""


def stopped_after(last):
    def after_epoch(epoch):
        if epoch["epoch"] == last:
            raise StoppedError

    return after_epoch


def tuned(split, given, model, *, loop=LOOP, loss=STANDARD, more=None, **options):
    kind = FineTuning(start=given, loss=loss, **options)
    return train_as(kind, model, *split, loop, seed=5, **(more or {}))


def test_the_first_step_is_one_of_adamw_from_the_given_weights(split, given):
    """By hand, in float64; a batch is all images, and a cycle begins with 1/25 of its top."""
    model, by_hand = net(2), net(3).double()
    with pytest.raises(StoppedError):
        tuned(split, given, model, more={"after_epoch": stopped_after(1)})
    by_hand.load_state_dict(given)
    logits = by_hand.train()(to_float(split[0]).double())
    (logits.logsumexp(1) - logits[torch.arange(16), split[1]]).mean().backward()
    rate, found = 0.25 / 25, dict(model.named_parameters())
    for name, weights in by_hand.named_parameters():
        step = weights.grad / (weights.grad.abs() + 1e-8) + 0.1 * weights
        expected = (weights - rate * step).float()
        torch.testing.assert_close(found[name].detach(), expected.detach(), rtol=0, atol=1e-5)
        assert (expected - given[name]).abs().max() > 1e-3


@pytest.mark.parametrize("as_model", [False, True])
def test_without_a_learning_rate_the_weights_stay_those_given(split, given, as_model):
    start = given
    if as_model:  # as another run is
        start = net(4)
        start.load_state_dict(given)
    model = net(2)
    history = tuned(split, start, model, loop=LOOP | {"learning_rate": 0.0})
    assert len(history) == 4
    found = states(model)
    assert all(torch.equal(found[name], given[name]) for name, _ in model.named_parameters())
    assert not torch.equal(found["features.1.running_mean"], given["features.1.running_mean"])


@pytest.mark.parametrize("loss", [STANDARD, ADVERSARIAL | {"attack": FGSM}])
def test_frozen_layers_stay_to_the_bit_with_their_statistics(split, given, loss):
    model = net(2, dropout=0.5)
    history = tuned(split, given, model, loss=loss, frozen=["features"])
    found = states(model)
    changed = {name for name in found if not torch.equal(found[name], given[name])}
    assert changed == {"head.2.weight", "head.2.bias"}
    if loss is STANDARD:  # the trunk goes by its running statistics, and drops nothing
        by_hand = net(3)
        by_hand.load_state_dict(given)
        expected = nn.functional.cross_entropy(by_hand(to_float(split[0])), split[1])
        assert history[0]["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_of_a_layer_only_what_is_named_is_frozen(split, given):
    model = net(2)
    tuned(split, given, model, frozen=["features.1", "head.2.bias"])
    found = states(model)
    same = {name for name in found if torch.equal(found[name], given[name])}
    assert same == {name for name in found if name.startswith("features.1.")} | {"head.2.bias"}


def test_new_layers_stay_as_they_were_drawn(split, given):
    loop = LOOP | {"learning_rate": 0.0}
    model, drawn = net(2, classes=5), net(2, classes=5)
    tuned(split, given, model, loop=loop, new_layers=["head"])
    found = states(model)
    assert torch.equal(found["head.2.weight"], drawn.head[2].weight)
    assert torch.equal(found["features.0.weight"], given["features.0.weight"])
    # Of the same size they are drawn as well; what the model has not is left out by its name.
    model = net(2)
    more = {"top.weight": torch.ones(2), "headless.weight": torch.ones(2)}
    tuned(split, given | more, model, loop=loop, new_layers=["head.2", "top", "headless"])
    assert torch.equal(states(model)["head.2.weight"], net(2).head[2].weight)


def test_a_killed_training_ends_with_the_same_bits(split, given, tmp_path):
    options = {"frozen": ["features.0"], "new_layers": ["head"]}
    whole = net(2, classes=5, dropped=0.5)
    expected = tuned(split, given, whole, **options)
    more = {"unfinished": Unfinished(tmp_path / "model.safetensors", {"key": "one"})}
    model = net(2, classes=5, dropped=0.5)
    with pytest.raises(StoppedError):
        tuned(split, given, model, **options, more=more | {"after_epoch": stopped_after(2)})
    reported = []
    model = net(2, classes=5, dropped=0.5)
    history = tuned(split, given, model, **options, more=more | {"after_epoch": reported.append})
    assert history == expected
    assert reported == expected[2:]
    found = states(model)
    assert all(torch.equal(found[name], values) for name, values in states(whole).items())


def test_its_loss_may_choose_the_images(split, given):
    kind = FineTuning(start=given, loss=STANDARD | {"part": "1/2"})
    images, labels = kind.begin(net(2), *split)
    assert labels.tolist() == [0, 1, 2] * 3
    assert len(images) == 9


class OwnMethod:
    """A kind that trains the model itself."""

    rounds = 1

    def train(self, *arguments, **settings):
        """It is not called."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"new_layers": ["heads"]}, "training.new_layers: there is no layer heads; there are feat"),
        (
            {"frozen": ["features.2"]},
            "training.frozen: there is no layer features.2; there are features.0, features.1, head",
        ),
        ({"frozen": ["features", "head"]}, "training.frozen names all layers"),
        (
            {"loss": {"_target_": f"{__name__}.OwnMethod"}},
            "training.loss: .*OwnMethod is no loss, but has a method",
        ),
        (
            {"start": {"head.2.weight": torch.zeros(5, 16)}},
            r"lacks features.0.weight.*shapes: head.2.weight \(5, 16\), in the model \(3, 16\). Nam"
            r"e the layers that are not to be taken over in training.new_layers",
        ),
        ({"start": "nan"}, r"no finite numbers \(head.2.bias\).* or the file is damaged"),
    ],
)
def test_what_cannot_be_tuned_is_refused(split, given, options, said):
    if options.get("start") == "nan":
        options = {"start": given | {"head.2.bias": torch.full((3,), float("nan"))}}
    with pytest.raises(AdvdetectError, match=said) as caught:
        FineTuning(**{"start": given, "loss": STANDARD} | options).begin(net(2), *split)
    assert "\n" not in str(caught.value)
