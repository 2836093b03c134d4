import math

import pytest
import torch
from attack_reference import cross_entropy_gradient
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.gradient import (
    ascend,
    error_log_odds,
    loss_gradient,
    normalize,
    project,
    steepest_step,
)
from advdetect.errors import AdvdetectError


def test_error_log_odds_is_the_cross_entropy_in_another_scale() -> None:
    logits = torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 4
    expected = functional.cross_entropy(3 * logits, labels, reduction="none")
    torch.testing.assert_close(functional.softplus(error_log_odds(3 * logits, labels)), expected)


def test_gradient_is_that_of_the_cross_entropy_divided_by_one_minus_p(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    with torch.no_grad():
        p = model(images).softmax(dim=1)
    gradient = loss_gradient(model, images, labels)
    for row in range(0, len(images), 5):
        label = int(labels[row])
        expected = cross_entropy_gradient(model, images[row], label) / (1 - p[row, label])
        torch.testing.assert_close(gradient[row], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("gap", [5.0, 30.0, 300.0])
def test_gradient_keeps_its_direction_where_the_model_is_confident(gap: float) -> None:
    """In float32 the cross entropy loses the weights of the label at 20 and everything at 104."""
    weights = torch.randn(3, 12, generator=torch.Generator().manual_seed(2))
    linear = nn.Linear(12, 3)
    with torch.no_grad():
        linear.weight.copy_(weights)
        linear.bias.copy_(torch.tensor([gap, 0.0, -1.0]))
    model = nn.Sequential(nn.Flatten(), linear)
    image = torch.zeros(1, 3, 2, 2)
    share = math.exp(-1) / (1 + math.exp(-1))
    expected = (1 - share) * weights[1] + share * weights[2] - weights[0]
    gradient = loss_gradient(model, image, torch.tensor([0]))
    torch.testing.assert_close(gradient.flatten(), expected)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("scale", [1e-35, 1.0, 1e30])
def test_normalize_neither_underflows_nor_overflows(order: int, scale: float) -> None:
    direction = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    direction[1] = 0
    result = normalize(direction * scale, order)
    expected = direction.double().flatten(1)
    expected = expected / expected.norm(order, dim=1, keepdim=True)
    expected[1] = 0
    torch.testing.assert_close(result.double().flatten(1), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", torch.inf)])
def test_steepest_step_gains_most_of_all_steps_of_norm_one(norm: str, order: float) -> None:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(1, 1, 3, 3, generator=generator)
    others = torch.randn(2000, 9, generator=generator)
    others = others / torch.linalg.vector_norm(others, order, dim=1, keepdim=True)
    step = steepest_step(direction, norm).flatten()  # type: ignore[arg-type]
    assert torch.linalg.vector_norm(step, order).item() == pytest.approx(1)
    assert step @ direction.flatten() >= (others @ direction.flatten()).max()


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", torch.inf)])
def test_project_is_the_nearest_point_of_the_ball(norm: str, order: float) -> None:
    generator = torch.Generator().manual_seed(0)
    origin = torch.rand(6, 1, 2, 2, generator=generator)
    outside = origin + torch.randn(6, 1, 2, 2, generator=generator)
    inside = origin + 0.01
    nearest = project(outside, origin, 0.2, norm)  # type: ignore[arg-type]
    size = torch.linalg.vector_norm((nearest - origin).flatten(1), order, dim=1)
    torch.testing.assert_close(size, torch.full((6,), 0.2))
    candidates = torch.randn(3000, 4, generator=generator)
    candidates = 0.2 * candidates / torch.linalg.vector_norm(candidates, order, dim=1, keepdim=True)
    for row in range(6):
        best = (outside[row] - nearest[row]).norm()
        rivals = (outside[row].flatten() - origin[row].flatten() - candidates).norm(dim=1)
        assert best <= rivals.min() + 1e-6
    torch.testing.assert_close(project(inside, origin, 0.2, norm), inside)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": 0.0}, "greater than 0"),
        ({"epsilon": math.nan}, "greater than 0"),
        ({"step_size": -0.1}, "greater than 0"),
        ({"steps": 0}, "at least 1"),
        ({"norm": "l1"}, "l2 or linf"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        ascend(
            model,
            images,
            labels,
            lambda current, previous, lanes: current,
            **{"epsilon": 0.1, "norm": "l2", **parameters},
        )
