"""A small classifier and images with black, white and grey pixels; a LeNet-5 and real digits."""

import pytest
import torch
from attack_models import CLASSES, COUNT, make_model
from torch import Tensor, nn

from advdetect.data import mnist
from advdetect.data.split import ImageSplit
from advdetect.models.lenet5 import LeNet5
from advdetect.randomness import SampleGenerator
from advdetect.training.loop import train
from advdetect.training.standard import Standard


@pytest.fixture
def model() -> nn.Module:
    return make_model()


@pytest.fixture
def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(COUNT, 2, 6, 6, generator=generator)
    return (values * 1.5 - 0.25).clamp(0, 1)  # a third of the pixels at 0 or 1


@pytest.fixture
def labels(model: nn.Module, images: Tensor) -> Tensor:
    """The model's own classes, but for every eighth image, which it gets wrong."""
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
    predicted[::8] = (predicted[::8] + 1) % CLASSES
    return predicted


@pytest.fixture
def generator() -> SampleGenerator:
    return SampleGenerator(7, range(COUNT))


@pytest.fixture(scope="session")
def lenet_and_digits(mnist_root) -> tuple[nn.Module, ImageSplit]:
    """A LeNet-5 trained on 6,000 digits of MNIST, and the test split."""
    splits = mnist.load(root=str(mnist_root))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LeNet5()
    train(
        model,
        splits["train"].images[:6000],
        splits["train"].labels[:6000],
        objective=Standard(),
        epochs=2,
        batch_size=64,
        learning_rate=0.004,
        weight_decay=0.0005,
        seed=0,
        after_epoch=lambda *_: None,
    )
    return model, splits["test"]
