"""Optimizers and schedules against their formulas; precision, strides, and what is taken up."""

import math
import platform
from pathlib import Path

import pytest
import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.inference import to_float
from advdetect.models.guard import guard
from advdetect.training.kinds import train_as
from advdetect.training.optimizers import is_emulated, make_optimizer, make_schedule
from advdetect.training.standard import Standard
from advdetect.training.unfinished import Unfinished

LOOP = {"epochs": 4, "batch_size": 8, "learning_rate": 0.05, "weight_decay": 0.01}
MIXED = {"precision": "bfloat16", "channels_last": True}


@pytest.fixture(scope="module")
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 1, 6, 6), generator=generator, dtype=torch.uint8)
    return images, torch.arange(24) % 3


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        convolutions = [nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)]
        return nn.Sequential(*convolutions, nn.Flatten(), nn.Dropout(0.2), nn.Linear(32, 3))


def test_sgd_with_momentum_goes_down_a_cosine(split):
    """By hand, in float64; a batch is all images, so that each epoch is one step."""
    images, labels = split
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3))
    pixels, truth = to_float(images).flatten(1).double(), torch.eye(3).double()[labels]
    weight, bias = (parameter.detach().double() for parameter in model.parameters())
    speeds = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for step in range(4):
        error = ((pixels @ weight.T + bias).softmax(1) - truth) / 24
        gradients = (error.T @ pixels + 0.1 * weight, error.sum(0) + 0.1 * bias)
        speeds = [0.8 * speed + slope for speed, slope in zip(speeds, gradients, strict=True)]
        rate = 0.5 * (1 + math.cos(math.pi * step / 4)) / 2
        weight, bias = weight - rate * speeds[0], bias - rate * speeds[1]
    settings = {"optimizer": "sgd", "momentum": 0.8, "schedule": "cosine"}
    loop = {"epochs": 4, "batch_size": 24, "learning_rate": 0.5, "weight_decay": 0.1}
    train_as(Standard(), model, images, labels, loop | settings, seed=0)
    torch.testing.assert_close(model[1].weight.double(), weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model[1].bias.double(), bias, rtol=1e-4, atol=1e-5)


def test_a_cycle_leaves_the_momentum_of_sgd(split):
    optimizer = make_optimizer(
        *("sgd", net().parameters()),
        **{"learning_rate": 1.0, "momentum": 0.7, "weight_decay": 0.0, "fused": False},
    )
    schedule = make_schedule("one_cycle", optimizer, 1.0, steps=21)
    rates = []
    for _ in range(21):
        (group,) = optimizer.param_groups
        assert group["momentum"] == 0.7
        rates.append(group["lr"])
        optimizer.step()
        if len(rates) < 21:
            schedule.step()
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) <= 1.0
    assert rates.index(max(rates)) in (5, 6)  # of steps 0 to 20, at three tenths
    assert rates[-1] < 1e-4


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no list of what it can compute")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other names of what it can compute")
def test_a_processor_without_16_bits_emulates_them():
    flags = set(
        Path("/proc/cpuinfo").read_text().partition("\nflags")[2].partition("\n")[0].split()
    )
    native = {"avx512bw", "avx512vl", "avx512dq"} <= flags or "avx_ne_convert" in flags
    assert is_emulated("bfloat16", torch.device("cpu")) is not native
    assert not is_emulated("float32", torch.device("cpu"))
    assert not is_emulated("bfloat16", torch.device("cuda"))


class KilledError(Exception):
    """What ends a training in the middle."""


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "schedule": "cosine"},
        MIXED,
        {"optimizer": "sgd", "momentum": 0.5} | MIXED,
        {"optimizer": "muon", "channels_last": True},
    ],
)
def test_a_killed_training_goes_on_with_the_same_bits(split, settings, tmp_path):
    """With images that are shifted and mirrored, dropout and batch norm; killed twice."""

    def trained(last=None, unfinished=None):
        def after_epoch(epoch):
            if epoch["epoch"] == last:
                raise KilledError

        model, loop = net(), LOOP | settings
        augmented = Standard(shift=1, mirror=True)
        more = {"seed": 3, "after_epoch": after_epoch, "unfinished": unfinished}
        return train_as(augmented, model, *split, loop, **more), model

    expected, whole = trained()
    unfinished = Unfinished(tmp_path / "model.safetensors", {"key": "one"})
    for last in (1, 3):
        with pytest.raises(KilledError):
            trained(last, unfinished)
    history, model = trained(unfinished=unfinished)
    assert history == expected
    for name, values in whole.state_dict().items():
        assert torch.equal(model.state_dict()[name], values)
        assert model.state_dict()[name].is_contiguous()


def test_in_mixed_precision_weights_and_losses_have_all_their_digits(split):
    seen = []

    class Watched(Standard):
        def __call__(self, model, images, labels):
            loss, logits = super().__call__(model, images, labels)
            seen.append((loss.dtype, logits.dtype, model[2].weight.is_contiguous()))
            return loss, logits

    histories = []
    for settings in ({}, MIXED):
        model = guard(net())
        inside = []
        model[2].register_forward_hook(lambda _m, _i, out, inside=inside: inside.append(out.dtype))
        histories.append(train_as(Watched(), model, *split, LOOP | settings, seed=3))
        assert set(inside) == {torch.bfloat16 if settings else torch.float32}
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert set(seen) == {
        (torch.float32, torch.float32, True),
        (torch.float32, torch.float32, False),
    }
    plain, mixed = ([epoch["loss"] for epoch in history] for history in histories)
    assert mixed == pytest.approx(plain, rel=0.05)
    assert mixed != plain


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"optimizer": "adam"}, "model.training.optimizer: adam is none of adamw, sgd."),
        ({"schedule": "step"}, "model.training.schedule: step is none of one_cycle, cosine."),
        ({"precision": "float16"}, "precision: float16 is none of float32, bfloat16."),
    ],
)
def test_what_there_is_not_is_refused(split, setting, said):
    with pytest.raises(AdvdetectError, match=said):
        train_as(Standard(), net(), *split, LOOP | setting, seed=0)
