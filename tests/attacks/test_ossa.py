import pytest
import torch
from attack_models import make_linear_model
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.ossa import ossa
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


def explicit_top_eigenvector(model: nn.Module, image: Tensor) -> Tensor:
    """Return the top eigenvector of the D×D matrix Σ_c p_c ∇log p_c ∇log p_cᵀ, in float64."""
    variable = image.clone().requires_grad_()
    log_p = model(variable[None])[0].log_softmax(dim=0)
    matrix = torch.zeros(image.numel(), image.numel(), dtype=torch.float64)
    for value in log_p:
        (gradient,) = torch.autograd.grad(value, variable, retain_graph=True)
        matrix += value.detach().exp() * torch.outer(gradient.flatten(), gradient.flatten())
    return torch.linalg.eigh(matrix).eigenvectors[:, -1].view_as(image)


def reference_ossa(
    model: nn.Module, image: Tensor, label: int, epsilon: float, steps: int, alpha: float
) -> Tensor:
    current = image
    for _ in range(steps):
        vector = explicit_top_eigenvector(model, current)
        both = torch.stack([current + alpha * vector, current - alpha * vector])
        with torch.no_grad():
            loss = functional.cross_entropy(
                model(both.clamp(0, 1)), torch.tensor([label, label]), reduction="none"
            )
        shift = both[int(loss.argmax())] - image
        current = (image + shift / max(1.0, float(shift.norm()) / epsilon)).clamp(0, 1)
    return current


@pytest.mark.parametrize(
    ("steps", "step_size", "alpha"), [(1, None, 0.9), (3, None, 0.3), (3, 0.6, 0.6)]
)
def test_matches_the_explicit_matrix(
    steps: int,
    step_size: float | None,
    alpha: float,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
) -> None:
    model, images = model.double(), images.double()
    adversarial = ossa(
        model,
        images,
        labels,
        generator=generator,
        epsilon=0.9,
        steps=steps,
        step_size=step_size,
    ).adversarial
    for row in range(0, len(images), 5):
        expected = reference_ossa(model, images[row], int(labels[row]), 0.9, steps, alpha)
        torch.testing.assert_close(adversarial[row], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 9.0])
def test_of_the_two_clipped_images_the_one_with_the_larger_loss_is_taken(
    epsilon: float, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    adversarial = ossa(model, images, labels, generator=generator, epsilon=epsilon).adversarial
    model = model.double()
    for row in range(len(images)):
        image = images[row].double()
        shift = epsilon * explicit_top_eigenvector(model, image)
        both = torch.stack([image + shift, image - shift]).clamp(0, 1)
        with torch.no_grad():
            loss = functional.cross_entropy(
                model(torch.cat([both, adversarial[row : row + 1].double()])),
                labels[row].expand(3),
                reduction="none",
            )
        assert loss[2] >= loss[:2].max() - 1e-4


def test_binary_linear_model_moves_along_the_difference_of_the_weights() -> None:
    model, difference, image = make_linear_model()
    labels = torch.tensor([0, 1])
    generator = SampleGenerator(0, [0, 1])
    result = ossa(model, image.repeat(2, 1, 1, 1), labels, generator=generator, epsilon=0.4)
    step = 0.4 * difference / difference.norm()
    torch.testing.assert_close(result.adversarial[0].flatten(), 0.5 + step)
    torch.testing.assert_close(result.adversarial[1].flatten(), 0.5 - step)


def test_impossible_steps_are_refused(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    with pytest.raises(AdvdetectError, match="at least 1"):
        ossa(model, images, labels, generator=generator, epsilon=0.1, steps=0)
