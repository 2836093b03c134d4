import pytest
import torch
from torch import Tensor

from advdetect.attacks.gradient import Norm
from advdetect.attacks.starts import Candidate, best_of, better, random_start
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

MANY, RADIUS = 2000, 0.2


def moved(norm: Norm, surface: bool, value: float = 0.5) -> Tensor:
    """Return (MANY, 8) shifts of images whose pixels all have one value."""
    images = torch.full((MANY, 2, 2, 2), value, dtype=torch.float64)
    generator = SampleGenerator(3, range(MANY))
    start = random_start(images, RADIUS, norm, generator, surface=surface)
    assert start.dtype == images.dtype
    assert start.min() >= 0
    assert start.max() <= 1
    return (start - images).flatten(1)


def assert_uniform(values: Tensor) -> None:
    """Check the distribution function of values in [0, 1], to four standard errors."""
    grid = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    below = (values.flatten()[:, None] < grid).double().mean(dim=0)
    assert (below - grid).abs().max() < 4 * 0.5 / values.numel() ** 0.5


def test_starts_in_the_linf_ball_are_uniform() -> None:
    assert_uniform((moved("linf", surface=False) / RADIUS + 1) / 2)


def test_starts_in_the_l2_ball_are_uniform() -> None:
    """The share of the ball's volume within the start is uniform, and so is the direction."""
    shift = moved("l2", surface=False)
    length = shift.norm(dim=1)
    assert_uniform((length / RADIUS) ** 8)
    # A coordinate of a direction in 8 dimensions has the mean 0 and the variance 1/8.
    direction = shift / length[:, None]
    assert direction.mean(dim=0).abs().max() < 4 / (8 * MANY) ** 0.5
    torch.testing.assert_close(
        direction.T @ direction / MANY, torch.eye(8, dtype=torch.float64) / 8, rtol=0, atol=0.015
    )


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", torch.inf)])
def test_starts_on_the_surface_are_as_far_as_the_radius(norm: Norm, order: float) -> None:
    length = torch.linalg.vector_norm(moved(norm, surface=True), order, dim=1)
    torch.testing.assert_close(length, torch.full_like(length, RADIUS), rtol=1e-6, atol=0)


@pytest.mark.parametrize("surface", [False, True])
@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", torch.inf)])
def test_at_a_corner_of_the_box_starts_stay_in_ball_and_box(
    norm: Norm, order: float, surface: bool
) -> None:
    shift = moved(norm, surface, value=1.0)
    length = torch.linalg.vector_norm(shift, order, dim=1)
    assert length.max() <= RADIUS * (1 + 1e-6)
    assert (shift < 0).any(dim=1).double().mean() > 0.9


def candidate(success: list[bool], loss: list[float], value: float) -> Candidate:
    image = torch.full((len(loss), 1, 1, 1), value)
    return Candidate(image, torch.tensor(success), torch.tensor(loss))


def test_a_success_is_better_than_a_loss() -> None:
    old = candidate([True, False, False, True, True], [1, 9, 1, 1, 2], 0.0)
    new = candidate([False, True, False, True, True], [9, 1, 2, 2, 1], 1.0)
    best = better(new, old)
    assert best.image.flatten().tolist() == [0, 1, 1, 1, 0]
    assert best.success.tolist() == [True, True, False, True, True]
    assert best.loss.tolist() == [1, 1, 2, 2, 2]


def test_the_best_of_several_runs() -> None:
    runs = iter([candidate([False], [loss], loss) for loss in (1.0, 3.0, 2.0)])
    assert best_of(3, lambda: next(runs)).image.item() == 3
    assert next(runs, None) is None


def test_no_run_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="restarts of an attack must be at least 1, not 0"):
        best_of(0, lambda: candidate([True], [1], 0.0))
