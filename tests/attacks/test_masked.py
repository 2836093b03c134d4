"""FGSM on probabilities: the same where nothing is rounded, and nothing where all of it is."""

import pytest
import torch
from attack_reference import cross_entropy_gradient
from torch import Tensor, nn

from advdetect.attacks.fgsm import fgsm
from advdetect.attacks.masked import fgsm_probabilities, probability_gradient
from advdetect.randomness import SampleGenerator


class Scaled(nn.Module):
    """A model whose logits are that many times as large, as those of a distilled one are."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, images: Tensor) -> Tensor:
        return self.factor * self.model(images)


def test_matches_the_definition(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    model, images = model.double(), images.double()
    adversarial = fgsm_probabilities(
        model, images, labels, generator=generator, epsilon=0.07
    ).adversarial
    for row in range(len(images)):
        gradient = cross_entropy_gradient(model, images[row], int(labels[row]))
        expected = (images[row] + 0.07 * gradient.sign()).clamp(0, 1)
        torch.testing.assert_close(adversarial[row], expected, rtol=0, atol=1e-14)


def linear(gap: float) -> tuple[nn.Module, Tensor]:
    """A linear model of two classes, and an image whose logits are that far apart."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[gap, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))
    return model, torch.tensor([[[[1.0, 0.5], [0.5, 0.0]]]])


@pytest.mark.parametrize(("gap", "is_zero"), [(1.0, False), (80.0, False), (110.0, True)])
def test_the_gradient_is_zero_where_float32_has_no_smaller_probability(gap, is_zero) -> None:
    """exp(−104) is below half of float32's least number, 2⁻¹⁴⁹; float64 has still smaller ones."""
    model, image = linear(gap)
    label = torch.tensor([0])
    gradient = probability_gradient(model, image, label)
    assert (gradient == 0).all().item() == is_zero
    assert (probability_gradient(model.double(), image.double(), label) != 0).any()


def test_the_gradient_is_a_number_where_the_label_has_no_probability() -> None:
    model, image = linear(110.0)
    assert probability_gradient(model, image, torch.tensor([1])).isfinite().all()


def test_a_masked_model_is_not_a_robust_one(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    masked = Scaled(model, 1e5)
    blind = fgsm_probabilities(masked, images, labels, generator=generator, epsilon=0.2)
    seeing = fgsm(masked, images, labels, generator=generator, epsilon=0.2)
    right = model(images).argmax(1) == labels
    assert torch.equal(blind.adversarial[right], images[right])
    assert seeing.success[right].sum() > blind.success[right].sum() == 0
