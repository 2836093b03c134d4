import pytest
import torch
from scipy import stats
from torch import Tensor

from advdetect.attacks.noise import noisy_twins
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


def l2(difference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(difference.double().flatten(1), dim=1)


@pytest.fixture
def digits_like() -> Tensor:
    """Mostly black images, as of handwritten digits, so that half of the noise is clipped."""
    values = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return (values * 4 - 3).clamp(0, 1)


def test_norms_after_clipping_are_those_asked_for(digits_like: Tensor) -> None:
    norms = torch.linspace(0.01, 8, 30, dtype=torch.float64)
    twins = noisy_twins(digits_like, norms, SampleGenerator(5, range(30)))
    assert twins.dtype == torch.float32
    assert twins.min() >= 0
    assert twins.max() <= 1
    torch.testing.assert_close(l2(twins - digits_like), norms, rtol=1e-5, atol=1e-6)


def test_away_from_the_walls_it_is_the_rescaled_noise() -> None:
    images = torch.full((4, 3, 8, 8), 0.5)
    norms = torch.tensor([0.1, 0.2, 0.3, 0.4])
    twins = noisy_twins(images, norms, SampleGenerator(5, range(4)))
    noise = SampleGenerator(5, range(4)).normal(3, 8, 8).double()
    expected = images + noise * (norms / l2(noise)).view(-1, 1, 1, 1)
    torch.testing.assert_close(twins.double(), expected, rtol=0, atol=1e-6)
    standardised = ((twins - images).double() / norms.view(-1, 1, 1, 1)).flatten()
    assert stats.kstest(standardised / standardised.std(), "norm").pvalue > 1e-3


def test_norm_zero_gives_the_image_itself(digits_like: Tensor) -> None:
    twins = noisy_twins(digits_like, torch.zeros(30), SampleGenerator(5, range(30)))
    assert torch.equal(twins, digits_like)


def test_out_of_reach_gives_the_furthest_image_along_the_noise(digits_like: Tensor) -> None:
    twins = noisy_twins(digits_like, torch.full((30,), 1e3), SampleGenerator(5, range(30)))
    noise = SampleGenerator(5, range(30)).normal(1, 28, 28)
    assert torch.equal(twins, (noise > 0).float())


def test_a_twin_does_not_depend_on_its_batch(digits_like: Tensor) -> None:
    norms = torch.linspace(0.5, 4, 30)
    generator = SampleGenerator(5, range(30))
    whole = noisy_twins(digits_like, norms, SampleGenerator(5, range(30)))
    before = digits_like.clone()
    alone = [
        noisy_twins(digits_like[row : row + 1], norms[row : row + 1], generator[row : row + 1])
        for row in range(30)
    ]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=0, atol=1e-6)
    assert torch.equal(digits_like, before)


def test_no_images_give_no_twins() -> None:
    twins = noisy_twins(torch.empty(0, 1, 4, 4), torch.empty(0), SampleGenerator(5, []))
    assert twins.shape == (0, 1, 4, 4)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_impossible_norms_are_refused(bad: float) -> None:
    with pytest.raises(AdvdetectError, match="not negative"):
        noisy_twins(torch.zeros(1, 1, 4, 4), torch.tensor([bad]), SampleGenerator(5, [0]))
