import torch
from attack_models import make_linear_model
from attack_reference import cross_entropy_gradient
from torch import Tensor, nn

from advdetect.attacks.fgsm import fgsm
from advdetect.randomness import SampleGenerator


def test_matches_the_definition(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    model, images = model.double(), images.double()
    adversarial = fgsm(model, images, labels, generator=generator, epsilon=0.07).adversarial
    for row in range(len(images)):
        gradient = cross_entropy_gradient(model, images[row], int(labels[row]))
        expected = (images[row] + 0.07 * gradient.sign()).clamp(0, 1)
        torch.testing.assert_close(adversarial[row], expected, rtol=0, atol=1e-14)


def test_linear_model_loses_epsilon_times_the_l1_norm_of_the_weight_difference() -> None:
    model, difference, image = make_linear_model()
    generator = SampleGenerator(0, [0])
    result = fgsm(model, image, torch.tensor([0]), generator=generator, epsilon=0.2)
    with torch.no_grad():
        change = (model(result.adversarial) - model(image))[0]
    torch.testing.assert_close(change[1] - change[0], 0.2 * difference.abs().sum())
