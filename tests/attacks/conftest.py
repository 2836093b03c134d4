"""A small classifier and images that have black, white and grey pixels."""

import pytest
import torch
from attack_models import CLASSES, COUNT, make_model
from torch import Tensor, nn

from advdetect.randomness import SampleGenerator


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
