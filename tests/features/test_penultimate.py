import pytest
import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.penultimate import penultimate
from advdetect.models.lenet5 import LeNet5


@pytest.fixture
def images() -> Tensor:
    return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_is_the_input_of_the_layer_that_makes_the_logits(images: Tensor) -> None:
    model = LeNet5().eval()
    features, logits = penultimate(model, images)
    with torch.no_grad():
        expected = model.classifier[:-1](model.features(images))
        assert torch.equal(logits, model(images))
    assert features.shape == (6, 84)
    assert torch.equal(features, expected)
    assert not features.requires_grad
    assert hook_count(model) == 0


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
    features, _ = penultimate(model, images)
    with torch.no_grad():
        assert torch.equal(features, model.body(images.flatten(1)).tanh())


def test_a_convolution_can_make_the_logits(images: Tensor) -> None:
    body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    head = nn.Sequential(nn.Conv2d(4, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential(body, head).eval()
    features, logits = penultimate(model, images)
    assert logits.shape == (6, 10)
    with torch.no_grad():
        assert torch.equal(features, body(images).flatten(1))


def test_a_named_layer_gives_its_output_before_a_relu_works_in_place(images: Tensor) -> None:
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 20), nn.ReLU(inplace=True), nn.Linear(20, 4)
    ).eval()
    features, _ = penultimate(model, images, layer="1")
    with torch.no_grad():
        expected = model[1](images.flatten(1))
    assert (expected < 0).any()
    assert torch.equal(features, expected)


def test_hooks_are_removed_when_the_model_fails(images: Tensor) -> None:
    model = LeNet5().eval()
    with pytest.raises(RuntimeError):
        penultimate(model, images[:, :, :20])
    assert hook_count(model) == 0


def test_errors_say_what_to_do(images: Tensor) -> None:
    with pytest.raises(AdvdetectError, match="has no module 'fc'; it has features, "):
        penultimate(LeNet5().eval(), images, layer="fc")
    with pytest.raises(AdvdetectError, match="no linear or convolutional layer ran"):
        penultimate(nn.Flatten().eval(), images)
