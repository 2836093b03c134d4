"""Against passes in which everything runs."""

import pytest
import torch
from torch import Tensor, nn

from advdetect.models import replay
from advdetect.models.replay import Replay

PASSES = 4


class Counted(nn.Module):
    """Counts how often it runs, and returns its input times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.runs = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.runs += 1
        return inputs * self.weight


class Random(nn.Module):
    """Adds another number in each pass, the same in every sequence of passes."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.runs += 1
        return inputs + self.runs


class Net(nn.Module):
    """Goes twice through one module, writes into its output, and does things between modules."""

    def __init__(self) -> None:
        super().__init__()
        self.before = Counted()
        self.listed = nn.ModuleList([Counted()])
        self.pair = nn.Sequential(Counted(), nn.Identity())
        self.block = nn.Sequential(Counted(), Random(), Counted())
        self.after = Counted()

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.before(self.before(inputs) + 1)
        hidden.add_(0.5)
        for layer in self.listed:
            hidden = layer(hidden)
        hidden = self.block(self.pair(hidden).relu_())
        return self.after(self.before(hidden))

    @property
    def random(self) -> list[nn.Module]:
        return [layer for layer in self.modules() if isinstance(layer, Random)]


@pytest.fixture
def batch() -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def outputs(batch: Tensor) -> tuple[list[Tensor], Net]:
    net = Net()
    with torch.no_grad():
        return list(Replay(net, net.random, batch).run(PASSES)), net


def test_passes_are_the_same_and_what_comes_before_the_random_layer_runs_once(batch):
    found, net = outputs(batch)
    plain = Net()
    with torch.no_grad():
        expected = [plain(batch) for _ in range(PASSES)]
    assert not torch.equal(expected[0], expected[1])
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert net.before.runs == 2 + PASSES
    assert (net.listed[0].runs, net.pair[0].runs, net.block[0].runs) == (1, 1, 1)
    assert (net.block[2].runs, net.after.runs) == (PASSES, PASSES)


def test_what_is_too_large_to_be_remembered_runs_in_every_pass(batch, monkeypatch):
    expected, _ = outputs(batch)
    monkeypatch.setattr(replay, "_REMEMBERED", 2 * batch.numel() * batch.element_size())
    found, net = outputs(batch)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    assert net.before.runs == 2 + PASSES
    assert net.pair[0].runs == PASSES


def test_the_model_is_left_as_it_was(batch):
    net = Net()
    net.pair.forward = before = torch.clone  # of its own, not of its class
    passes = Replay(net, net.random, batch).run(PASSES)
    next(passes)
    assert "forward" in vars(net.before)
    passes.close()
    assert "forward" not in vars(net.before)
    assert net.pair.forward is before
    assert not any(layer._forward_pre_hooks for layer in net.modules())
