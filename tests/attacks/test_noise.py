import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from advdetect.attacks.noise import noise_scale, noise_streams, noisy_twins
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


def l2(difference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(difference.double().flatten(1), dim=1)


def twins_of(images: Tensor, norms: Tensor, index=None) -> Tensor:
    """Find the scales and draw the twins, each from streams that nothing was drawn from."""
    index = range(len(images)) if index is None else index
    scale = noise_scale(images, norms, SampleGenerator(5, index))
    return noisy_twins(images, scale, SampleGenerator(5, index))


@pytest.fixture
def digits_like() -> Tensor:
    """Mostly black images, as of handwritten digits, so that half of the noise is clipped."""
    values = torch.rand(30, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return (values * 4 - 3).clamp(0, 1)


def test_norms_after_clipping_are_those_asked_for(digits_like: Tensor) -> None:
    norms = torch.linspace(0.01, 8, 30, dtype=torch.float64)
    twins = twins_of(digits_like, norms)
    assert twins.dtype == torch.float32
    assert twins.min() >= 0
    assert twins.max() <= 1
    torch.testing.assert_close(l2(twins - digits_like), norms, rtol=1e-5, atol=1e-6)


def test_away_from_the_walls_it_is_the_rescaled_noise() -> None:
    images = torch.full((4, 3, 8, 8), 0.5)
    norms = torch.tensor([0.1, 0.2, 0.3, 0.4])
    twins = twins_of(images, norms)
    noise = SampleGenerator(5, range(4)).normal(3, 8, 8).double()
    expected = images + noise * (norms / l2(noise)).view(-1, 1, 1, 1)
    torch.testing.assert_close(twins.double(), expected, rtol=0, atol=1e-6)
    standardised = ((twins - images).double() / norms.view(-1, 1, 1, 1)).flatten()
    assert stats.kstest(standardised / standardised.std(), "norm").pvalue > 1e-3


def test_norm_zero_gives_the_image_itself(digits_like: Tensor) -> None:
    twins = twins_of(digits_like, torch.zeros(30))
    assert torch.equal(twins, digits_like)


def test_out_of_reach_gives_the_furthest_image_along_the_noise(digits_like: Tensor) -> None:
    twins = twins_of(digits_like, torch.full((30,), 1e3))
    noise = SampleGenerator(5, range(30)).normal(1, 28, 28)
    assert torch.equal(twins, (noise > 0).float())


def test_a_twin_does_not_depend_on_its_batch(digits_like: Tensor) -> None:
    norms = torch.linspace(0.5, 4, 30)
    whole = twins_of(digits_like, norms)
    before = digits_like.clone()
    alone = [twins_of(digits_like[row : row + 1], norms[row : row + 1], [row]) for row in range(30)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=0, atol=1e-6)
    assert torch.equal(digits_like, before)


def test_no_images_give_no_twins() -> None:
    twins = twins_of(torch.empty(0, 1, 4, 4), torch.empty(0))
    assert twins.shape == (0, 1, 4, 4)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_impossible_norms_are_refused(bad: float) -> None:
    with pytest.raises(AdvdetectError, match="not negative"):
        noise_scale(torch.zeros(1, 1, 4, 4), torch.tensor([bad]), SampleGenerator(5, [0]))


def test_the_scale_is_the_smallest_that_reaches_the_norm(digits_like: Tensor) -> None:
    """By a float64 computation of its own, image by image."""
    norms = torch.linspace(0.1, 6, 30, dtype=torch.float64)
    scale = noise_scale(digits_like, norms, SampleGenerator(5, range(30))).numpy()
    noise = SampleGenerator(5, range(30)).normal(1, 28, 28).numpy().astype(np.float64)
    for image, draw, factor, norm in zip(digits_like.numpy(), noise, scale, norms, strict=True):
        moved = [
            np.linalg.norm(np.clip(image + share * factor * draw, 0, 1) - image)
            for share in (1 - 1e-5, 1 + 1e-5)
        ]
        assert moved[0] < norm < moved[1]


def test_the_values_of_a_sweep_have_one_noise_and_attacks_their_own() -> None:
    index = torch.arange(3)
    names = ("ead,kappa=1", "ead,kappa=2", "fgsm", "fgsm@lenet5")
    one, same, *others = (noise_streams(1, name, index).normal(4) for name in names)
    assert torch.equal(one, same)
    assert not any(torch.equal(one, other) for other in others)
    assert not torch.equal(*others)
