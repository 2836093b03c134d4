import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.errors import AdvdetectError
from advdetect.models.activations import activations
from advdetect.models.lenet5 import LeNet5


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_the_layers_of_lenet_are_what_the_next_layer_gets(images: Tensor) -> None:
    model = LeNet5().eval().requires_grad_(False)  # as the steps read it
    found = activations(model, images, max_width=10_000)
    with torch.no_grad():
        first = model.features[:4](images)
        flat = model.classifier[0](model.features(images))
        hidden = model.classifier[1:4](flat)
        penultimate = model.classifier[:-1](model.features(images))
        logits = model(images)
    names = ["features.4", "classifier.1", "classifier.4", "penultimate", "logits"]
    assert list(found) == names
    for name, expected in zip(
        names, [first.flatten(1), flat, hidden, penultimate, logits], strict=True
    ):
        assert torch.equal(found[name], expected), name
        assert not found[name].requires_grad
    assert hook_count(model) == 0


def test_wide_layers_are_pooled_and_the_last_two_are_not(images: Tensor) -> None:
    model = LeNet5().eval()
    whole = activations(model, images, max_width=10_000)
    pooled = activations(model, images, max_width=60)
    assert pooled["features.4"].shape == (6, 6 * 3 * 3)  # 6 · 4 · 4 would be too many
    maps = whole["features.4"].unflatten(1, (6, 14, 14))
    expected = functional.adaptive_avg_pool2d(maps, 3).flatten(1)
    torch.testing.assert_close(pooled["features.4"], expected)
    assert pooled["classifier.1"].shape == (6, 60)
    assert pooled["classifier.4"].shape == (6, 60)
    pairs = whole["classifier.4"].unflatten(1, (60, 2)).mean(dim=2)
    torch.testing.assert_close(pooled["classifier.4"], pairs)
    assert torch.equal(pooled["penultimate"], whole["penultimate"])
    assert torch.equal(pooled["logits"], whole["logits"])


def test_more_channels_than_numbers_are_averaged(images: Tensor) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 3), nn.Flatten(), nn.Linear(2 * 24 * 24, 3)
    ).eval()
    found = activations(model, images, max_width=4)
    with torch.no_grad():
        expected = model[0](images).mean(dim=(2, 3)).unflatten(1, (4, 2)).mean(dim=2)
    torch.testing.assert_close(found["1"], expected)


@pytest.mark.parametrize("size", [1, 4])
def test_nothing_depends_on_the_batch_size(size: int, images: Tensor) -> None:
    model = LeNet5().eval()
    whole = activations(model, images, max_width=30)
    parts = [activations(model, part, max_width=30) for part in images.split(size)]
    for name, expected in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), expected)


def test_the_last_layer_is_the_one_that_runs_last_and_not_the_one_named_last(
    images: Tensor,
) -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(9, 3)
            self.body = nn.Linear(784, 9)
            self.never_used = nn.Linear(2, 2)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(self.body(images.flatten(1)).tanh())

    model = Backwards().eval()
    found = activations(model, images)
    with torch.no_grad():
        assert torch.equal(found["penultimate"], model.body(images.flatten(1)).tanh())
    assert list(found) == ["penultimate", "logits"]


def test_a_convolution_can_make_the_logits(images: Tensor) -> None:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    head = nn.Sequential(nn.Conv2d(4, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, head).eval()
    found = activations(model, images)
    assert found["logits"].shape == (6, 10)
    with torch.no_grad():
        assert torch.equal(found["penultimate"], body(images).flatten(1))


def test_named_layers_give_their_output_before_a_relu_works_in_place(images: Tensor) -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 20), nn.ReLU(inplace=True), nn.Linear(20, 4)
    ).eval()
    found = activations(model, images, layers=["1"])
    with torch.no_grad():
        expected = model[1](images.flatten(1))
    assert (expected < 0).any()
    assert list(found) == ["1", "penultimate", "logits"]
    assert torch.equal(found["1"], expected)
    assert torch.equal(found["penultimate"], expected.relu())


def test_a_layer_that_runs_twice_has_two_names(images: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(784, 9)
            self.again = nn.Linear(9, 9)
            self.head = nn.Linear(9, 3)

        def forward(self, images: Tensor) -> Tensor:
            hidden = self.again(self.first(images.flatten(1)))
            return self.head(self.again(hidden.relu()))

    model = Twice().eval()
    found = activations(model, images)
    assert list(found) == ["again", "again#2", "penultimate", "logits"]
    with torch.no_grad():
        hidden = model.first(images.flatten(1))
        assert torch.equal(found["again"], hidden)
        assert torch.equal(found["again#2"], model.again(hidden).relu())


def test_hooks_are_removed_when_the_model_fails(images: Tensor) -> None:
    model = LeNet5().eval()
    with pytest.raises(RuntimeError):
        activations(model, images[:, :, :20])
    assert hook_count(model) == 0


def test_errors_say_what_to_do(images: Tensor) -> None:
    with pytest.raises(AdvdetectError, match="has no module 'fc'; it has features, "):
        activations(LeNet5().eval(), images, layers=["fc"])
    with pytest.raises(AdvdetectError, match="no linear or convolutional layer ran"):
        activations(nn.Flatten().eval(), images)
    idle = nn.Sequential(nn.Flatten(), nn.Linear(784, 4)).eval()
    idle.idle = nn.Linear(2, 2)
    idle.forward = lambda images: idle[1](idle[0](images))  # type: ignore[method-assign]
    with pytest.raises(AdvdetectError, match="the module idle of Sequential did not run"):
        activations(idle, images, layers=["idle"])
    merging = nn.Sequential(nn.Flatten(0, 2), nn.Linear(28, 3)).eval()
    with pytest.raises(AdvdetectError, match="does not have one row per image"):
        activations(merging, images)
