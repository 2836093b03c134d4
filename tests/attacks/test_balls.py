"""Norms within the box beside linear and quadratic programs."""

from functools import partial

import numpy as np
import pytest
import torch
from linear_programs import least_to_gap
from scipy import optimize
from torch import Tensor

from advdetect.attacks.balls import BALLS

SHAPE = (6, 2, 3, 3)
NORMS = pytest.mark.parametrize("norm", BALLS)


def random(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, dtype=torch.float64, generator=generator)


@pytest.fixture
def images() -> Tensor:
    return (random(1) / 2 + 0.5).clamp(0, 1)  # a third of the values at 0 or 1


@NORMS
def test_distance_is_that_of_a_linear_function(norm: str, images: Tensor) -> None:
    """Where the box does not bind; in L1, where it always does, within the box."""
    gradient = random(2)
    images = images if norm == "l1" else 0.4 + images / 5
    gap = gradient.flatten(1).abs().amax(dim=1) * (2.0 if norm == "l1" else 0.05)
    found = BALLS[norm].distance(gap, gradient, images)
    for row in range(len(images)):
        expected = least_to_gap(norm, gradient[row], gap[row].item(), images[row])
        assert found[row].item() == pytest.approx(expected, rel=1e-6)


def test_l1_distance_beyond_the_box_goes_on_along_the_largest_slope() -> None:
    images, gradient = torch.zeros(1, 1, 1, 3), torch.tensor([[[[4.0, 2.0, -8.0]]]])
    distance = BALLS["l1"].distance(torch.tensor([10.0]), gradient, images)
    assert distance.item() == 2 + (10 - 6) / 8


@NORMS
def test_no_gradient_has_no_distance(norm: str, images: Tensor) -> None:
    found = BALLS[norm].distance(torch.ones(len(images)), torch.zeros(SHAPE), images)
    assert not found.isfinite().any()


@NORMS
def test_steps_have_the_sign_of_the_direction_and_no_scale(norm: str) -> None:
    direction = random(3).float()
    step = BALLS[norm].step(direction)
    assert torch.equal(step.sign(), direction.sign())
    torch.testing.assert_close(BALLS[norm].step(1e-30 * direction), step)
    mean_square = step.square().mean(dim=(1, 2, 3))
    expected = torch.full((6,), 1.0 if norm == "linf" else 1 / direction[0].numel())
    torch.testing.assert_close(mean_square, expected)
    assert not BALLS[norm].step(torch.zeros(SHAPE)).any()


@pytest.mark.parametrize("radius", [0.0, 0.2, 3.0, 100.0])
def test_l1_projection_is_the_nearest_point_of_ball_and_box(radius: float, images: Tensor) -> None:
    """Its threshold beside a root of the sum by another way."""
    perturbation = 2 * random(4)
    found = BALLS["l1"].within(perturbation, images, torch.full((6,), radius, dtype=torch.float64))
    for image, moved, result in zip(images, perturbation, found, strict=True):
        shrunk = partial(_shrunk, image.numpy(), moved.numpy())
        threshold = 0.0
        if np.abs(shrunk(threshold)).sum() > radius:
            threshold = optimize.brentq(
                lambda value, shrunk=shrunk: np.abs(shrunk(value)).sum() - radius, 0, 10
            )
        np.testing.assert_allclose(result - image, shrunk(threshold), rtol=0, atol=1e-9)


def _shrunk(image: np.ndarray, perturbation: np.ndarray, threshold: float) -> np.ndarray:
    size = np.maximum(np.abs(perturbation) - threshold, 0)
    return (np.sign(perturbation) * size).clip(-image, 1 - image)


def test_linf_projection_clips_to_ball_and_box(images: Tensor) -> None:
    perturbation = random(5)
    found = BALLS["linf"].within(perturbation, images, torch.full((6,), 0.3, dtype=torch.float64))
    low, high = (images - 0.3).clamp_min(0), (images + 0.3).clamp_max(1)
    expected = (images + perturbation).clamp(low, high)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
