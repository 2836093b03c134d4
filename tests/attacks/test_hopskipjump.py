"""HopSkipJump: closed forms on a linear model, and a model that answers labels only."""

from functools import partial

import pytest
import torch
from attack_models import COUNT, make_linear_model
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.gradient import Norm
from advdetect.attacks.hopskipjump import estimated_normal, halvings, hopskipjump
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

each_norm = pytest.mark.parametrize("norm", ["l2", "linf"])


class Labels(nn.Module):
    """The classes of another model, without scores or gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return functional.one_hot(self.model(images).argmax(dim=1), 5).to(images)


@each_norm
def test_the_distance_is_that_to_the_boundary_of_a_linear_model(norm: Norm) -> None:
    model, difference, image = make_linear_model()
    images, labels = image.repeat(4, 1, 1, 1), torch.zeros(4, dtype=torch.int64)
    result = hopskipjump(
        model, images, labels, generator=SampleGenerator(3, range(4)), norm=norm, steps=12
    )
    assert result.success.all()
    change = (result.adversarial - images).flatten(1)
    if norm == "l2":
        found, closest = change.norm(dim=1), torch.tensor(0.3)
    else:
        found = change.abs().amax(dim=1)
        closest = 0.3 * difference.norm() / difference.abs().sum()
    assert (found >= closest).all()
    assert (found <= 1.05 * closest).all()


@each_norm
def test_labels_are_enough(norm: Norm, model: nn.Module, images: Tensor, labels: Tensor) -> None:
    attack = partial(hopskipjump, norm=norm, steps=3, evaluations=20)
    images, labels = images[:12], labels[:12]
    expected, found = (
        attack(asked, images, labels, generator=SampleGenerator(7, range(12)))
        for asked in (model, Labels(model))
    )
    assert expected.success.any()
    assert torch.equal(found.adversarial, expected.adversarial)
    assert torch.equal(found.iterations, expected.iterations)


def test_iterations_are_queries_and_more_steps_come_nearer(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    distances = []
    for steps in (1, 5):
        with counted_passes(model) as passes:
            result = hopskipjump(
                model,
                images,
                labels,
                generator=SampleGenerator(7, range(COUNT)),
                steps=steps,
                evaluations=30,
            )
        with torch.no_grad():
            there = int((model(images).argmax(dim=1) != labels).sum())
        assert (passes.forward, passes.backward) == (int(result.iterations.sum()) + there, 0)
        distances.append((result.adversarial - images).flatten(1).norm(dim=1)[result.success])
    assert (distances[1] <= distances[0]).all()
    assert distances[1].mean() < 0.9 * distances[0].mean()


def test_without_a_start_nothing_is_changed(images: Tensor) -> None:
    class Certain(nn.Module):
        def forward(self, shown: Tensor) -> Tensor:
            return torch.eye(5)[2].expand(len(shown), 5)

    labels = torch.full((COUNT,), 2)
    generator = SampleGenerator(7, range(COUNT))
    result = hopskipjump(Certain(), images, labels, generator=generator, tries=3)
    assert torch.equal(result.adversarial, images)
    assert not result.success.any()
    assert (result.iterations == 4).all()


def test_the_normal_of_a_plane_is_found_by_many_directions() -> None:
    normal = functional.normalize(torch.arange(1.0, 9.0), dim=0)
    point = torch.full((2, 2, 2, 2), 0.5)

    def ask(images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ normal > 0.002  # more directions fail than fool

    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> Tensor:
        drawn = torch.randn(2, count, 2, 2, 2, generator=generator)
        return drawn / drawn.flatten(2).norm(dim=2).view(2, count, 1, 1, 1)

    found = estimated_normal(ask, point, torch.full((2,), 0.01), draw, 4000)
    cosine = functional.normalize(found.flatten(1), dim=1) @ normal
    assert (cosine > 0.99).all()


@pytest.mark.parametrize(("size", "norm", "gamma"), [(784, "l2", 1.0), (784, "linf", 0.01)])
def test_halvings_reach_the_authors_threshold(size: int, norm: Norm, gamma: float) -> None:
    threshold = gamma / (size**1.5 if norm == "l2" else size**2)
    count = halvings(size, norm, gamma)
    assert 0.5**count <= threshold < 0.5 ** (count - 1)


@pytest.mark.parametrize("given", [{"evaluations": 0}, {"tries": 0}, {"norm": "l1"}, {"gamma": 0}])
def test_impossible_parameters_are_refused(given: dict, generator: SampleGenerator) -> None:
    images, labels = torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(AdvdetectError, match="must be"):
        hopskipjump(nn.Flatten(), images, labels, generator=generator, **given)
