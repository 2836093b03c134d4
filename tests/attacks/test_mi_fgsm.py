import pytest
import torch
from attack_reference import reference_mi_fgsm
from torch import Tensor, nn

from advdetect.attacks.bim import bim
from advdetect.attacks.mi_fgsm import mi_fgsm
from advdetect.randomness import SampleGenerator


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_matches_the_algorithm_of_the_paper(
    decay: float, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    model, images = model.double(), images.double()
    adversarial = mi_fgsm(
        model, images, labels, generator=generator, epsilon=0.2, steps=10, decay=decay
    ).adversarial
    for row in range(0, len(images), 3):
        expected = reference_mi_fgsm(model, images[row], int(labels[row]), 0.2, 10, decay)
        torch.testing.assert_close(adversarial[row], expected, rtol=0, atol=1e-10)


def test_without_memory_it_is_the_basic_iterative_method(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    model, images = model.double(), images.double()
    without = mi_fgsm(model, images, labels, generator=generator, epsilon=0.2, decay=0.0)
    basic = bim(model, images, labels, generator=generator, epsilon=0.2, norm="linf", steps=10)
    torch.testing.assert_close(without.adversarial, basic.adversarial)


def test_each_gradient_counts_alike_however_large_it_is(generator: SampleGenerator) -> None:
    """Momentum decides by votes: the first two gradients together outweigh the third.

    The third is a thousand times larger, so a sum of raw gradients would turn round.
    """

    class Slope(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx: object, images: Tensor) -> Tensor:
            return images.flatten(1).sum(dim=1)

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            Slope.calls += 1
            factor = 1.0 if Slope.calls < 3 else -1000.0
            return factor * gradient.view(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    class Model(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            total = Slope.apply(images)
            return torch.stack([0 * total, total], dim=1)

    result = mi_fgsm(
        Model().eval(),
        torch.full((1, 1, 2, 2), 0.5),
        torch.tensor([0]),
        generator=generator,
        epsilon=0.3,
        steps=3,
    )
    torch.testing.assert_close(result.adversarial, torch.full((1, 1, 2, 2), 0.8))
