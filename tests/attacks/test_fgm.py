import pytest
import torch
from attack_models import make_linear_model
from attack_reference import cross_entropy_gradient
from torch import Tensor, nn

from advdetect.attacks.fgm import fgm
from advdetect.randomness import SampleGenerator


def test_matches_the_definition(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    adversarial = fgm(model, images, labels, generator=generator, epsilon=1.3).adversarial
    model = model.double()
    for row in range(len(images)):
        image = images[row].double()
        gradient = cross_entropy_gradient(model, image, int(labels[row]))
        expected = (image + 1.3 * gradient / gradient.pow(2).sum().sqrt()).clamp(0, 1)
        torch.testing.assert_close(adversarial[row].double(), expected, rtol=0, atol=1e-5)


def test_linear_model_moves_along_the_difference_of_the_weights() -> None:
    model, difference, image = make_linear_model()
    result = fgm(model, image, torch.tensor([0]), generator=SampleGenerator(0, [0]), epsilon=0.4)
    expected = 0.5 + 0.4 * difference / difference.norm()
    torch.testing.assert_close(result.adversarial.flatten(), expected)


@pytest.mark.parametrize(("epsilon", "success"), [(0.297, False), (0.303, True)])
def test_linear_model_is_fooled_just_beyond_its_distance_to_the_boundary(
    epsilon: float, success: bool
) -> None:
    model, _, image = make_linear_model()
    generator = SampleGenerator(0, [0])
    result = fgm(model, image, torch.tensor([0]), generator=generator, epsilon=epsilon)
    assert result.success.tolist() == [success]
