import math

import pytest
import torch
from attack_models import make_linear_model
from torch import Tensor, nn

from advdetect.attacks.bim import bim
from advdetect.attacks.gradient import loss_gradient
from advdetect.attacks.smoothed_bim import Smoothed, smoothed_bim
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

SIGMA, DRAWS = 0.3, 5


def test_the_smoothed_model_averages_probabilities_over_the_draws(
    model: nn.Module, images: Tensor
) -> None:
    model, images = model.double(), images.double()
    noise = torch.randn(len(images), DRAWS, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        found = Smoothed(model, noise)(images)
        expected = sum(model(images + noise[:, i]).softmax(1) for i in range(DRAWS)) / DRAWS
    torch.testing.assert_close(found.exp(), expected)


def test_its_gradient_is_that_of_the_mean_probability(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """∇ log((1 − p) / p) = −∇p / (p (1 − p)), p the mean over draws, each by itself."""
    model, images = model.double(), images.double()
    noise = torch.randn(len(images), DRAWS, 2, 6, 6, dtype=torch.float64)
    found = loss_gradient(Smoothed(model, noise), images, labels)
    for row in range(0, len(images), 5):
        variable = images[row : row + 1].clone().requires_grad_()
        probabilities = [
            model(variable + noise[row, i]).softmax(1)[0, labels[row]] for i in range(DRAWS)
        ]
        gradients = [torch.autograd.grad(p, variable)[0] for p in probabilities]
        p = sum(probabilities).item() / DRAWS
        expected = -sum(gradients) / DRAWS / (p * (1 - p))
        torch.testing.assert_close(found[row], expected[0], rtol=1e-8, atol=1e-12)


def test_without_noise_to_speak_of_it_is_the_attack_on_the_model(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    given = {"generator": generator, "epsilon": 0.5, "steps": 4}
    smoothed = smoothed_bim(model, images, labels, sigma=1e-9, draws=1, **given)
    plain = bim(model, images, labels, norm="l2", **given)
    torch.testing.assert_close(smoothed.adversarial, plain.adversarial, rtol=0, atol=1e-4)


def test_it_lowers_the_probability_under_noise_more_than_the_attack_on_the_model(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    fresh = 0.5 * torch.randn(len(images), 500, 2, 6, 6, generator=torch.Generator().manual_seed(8))
    given = {"generator": generator, "epsilon": 1.0, "steps": 10}
    found = {
        "g": smoothed_bim(model, images, labels, sigma=0.5, draws=32, **given).adversarial,
        "f": bim(model, images, labels, norm="l2", **given).adversarial,
        "clean": images,
    }
    with torch.no_grad():
        p = {
            name: Smoothed(model, fresh)(shown).gather(1, labels[:, None]).exp().mean().item()
            for name, shown in found.items()
        }
    assert p["g"] < p["f"] < p["clean"]


def test_on_a_linear_model_of_two_classes_it_goes_straight_to_the_boundary() -> None:
    model, difference, image = make_linear_model()
    result = smoothed_bim(
        model,
        image,
        torch.tensor([0]),
        generator=SampleGenerator(0, [0]),
        epsilon=0.2,
        sigma=SIGMA,
    )
    expected = image + 0.2 * (difference / difference.norm()).view_as(image)
    torch.testing.assert_close(result.adversarial, expected, rtol=0, atol=1e-5)


def test_no_more_rows_go_through_the_model_than_images_are_given(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    rows = []
    model.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    smoothed_bim(
        model, images, labels, generator=generator, epsilon=1.0, sigma=SIGMA, draws=DRAWS, steps=2
    )
    assert max(rows) <= len(images)
    assert sum(rows) == 2 * DRAWS * len(images) + len(images)


@pytest.mark.parametrize(("sigma", "draws"), [(0, 4), (-1.0, 4), (math.nan, 4), (0.3, 0)])
def test_impossible_parameters_are_refused(
    sigma: float,
    draws: int,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
) -> None:
    with pytest.raises(AdvdetectError, match="sigma"):
        smoothed_bim(
            model, images, labels, generator=generator, epsilon=1.0, sigma=sigma, draws=draws
        )
