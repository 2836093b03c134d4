"""Features of activations are differentiable, down to the image: attacks on detectors need it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from advdetect.models.activations import activations
from advdetect.randomness import SampleGenerator
from advdetect.steps.options import bind_target

CLASSES, SIDE = 3, 3
NAMES = ["energy", "kd", "lid", "mahalanobis", "max_probability", "nearest_neighbour"]


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A smooth model in float64, with two hidden layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Flatten(), nn.Linear(SIDE**2, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh()]
        return nn.Sequential(*layers, nn.Linear(5, CLASSES)).double().requires_grad_(False)


def images(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, SIDE, SIDE, dtype=torch.float64, generator=generator)


def spec_of(name: str, repository: Path) -> dict[str, Any]:
    return yaml.safe_load((repository / f"config/feature/{name}.yaml").read_text())


def columns_of(
    spec: dict[str, Any], model: nn.Module, train: Tensor
) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Return the feature, fitted on some images, as a function of images alone."""
    given: dict[str, Any] = {"generator": SampleGenerator(0, []), "activations": None}
    if "_fit_" in spec:
        fit = bind_target(spec, "_fit_", positional=2)
        given["fitted"] = fit(activations(model, train), torch.arange(len(train)) % CLASSES)
    feature = bind_target(spec, "_target_", positional=2, given=given)

    def columns(queries: Tensor) -> tuple[Tensor, ...]:
        found = {"activations": activations(model, queries)}
        return tuple(feature(model, queries, **given | found).values())

    return columns


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_in_the_image_is_that_of_finite_differences(
    name: str, model: nn.Module, repository: Path
) -> None:
    columns = columns_of(spec_of(name, repository), model, images(90, 0))
    queries = images(4, 1).requires_grad_()
    before = columns(queries)
    assert all(values.requires_grad for values in before)
    assert torch.autograd.gradcheck(columns, (queries,), eps=1e-6, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["lid", "nearest_neighbour"])
def test_the_gradient_is_finite_at_a_duplicate_of_a_training_image(
    name: str, model: nn.Module, repository: Path
) -> None:
    """Where the distance to the nearest one is zero and its square root has no derivative."""
    spec = spec_of(name, repository)
    spec["neighbours"] = 1 if name == "nearest_neighbour" else 2
    train = images(30, 0)
    queries = train[:2].clone().requires_grad_()
    for values in columns_of(spec, model, train)(queries):
        values.sum().backward(retain_graph=True)
    assert queries.grad is not None
    assert queries.grad.isfinite().all()
