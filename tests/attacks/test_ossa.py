import pytest
import torch
from attack_models import make_linear_model
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.fgm import fgm
from advdetect.attacks.ossa import ossa
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.fisher.top_eigenpair import Method
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


#: Those that find the top eigenvector of the matrix itself, not of an estimate.
METHODS: list[Method] = ["exact", "lanczos", "power", "class_lanczos"]
SAMPLED: list[Method] = ["alias_lanczos", "alias_power"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("steps", "step_size", "alpha"), [(1, None, 0.9), (3, None, 0.3), (3, 0.6, 0.6)]
)
def test_matches_the_explicit_matrix(
    method: Method,
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
        method=method,
        iterations=1000,
        tolerance=1e-9,
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


@pytest.mark.parametrize("method", SAMPLED)
def test_confident_model_is_attacked_along_its_gradient_when_classes_are_drawn(
    method: Method, model: nn.Module, images: Tensor
) -> None:
    with torch.no_grad():
        model[-1].weight *= 100
        model[-1].bias *= 100
        p = model(images).softmax(dim=1)
    confident = p.amax(dim=1) > 1 - 1e-5  # no other class is drawn
    assert confident.sum() > 20
    predicted = p.argmax(dim=1)
    images, predicted = images[confident], predicted[confident]
    generator = SampleGenerator(7, range(len(images)))
    with counted_passes(model) as passes:
        along = ossa(
            model, images, predicted, generator=generator, epsilon=0.01, method=method, draws=2
        )
    expected = fgm(model, images, predicted, generator=generator, epsilon=0.01)
    torch.testing.assert_close(along.adversarial, expected.adversarial, rtol=0, atol=1e-5)
    assert passes.backward == len(images)


@pytest.mark.parametrize("method", [*METHODS, *SAMPLED])
def test_images_have_the_same_result_in_any_batch(
    method: Method, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    count = 14

    def attack(batch_size: int) -> AttackResult:
        parts = [
            ossa(
                model,
                images[start : start + batch_size],
                labels[start : start + batch_size],
                generator=SampleGenerator(7, range(start, min(start + batch_size, count))),
                epsilon=0.5,
                steps=3,
                method=method,
                tolerance=1e-5,
                draws=4,
            )
            for start in range(0, count, batch_size)
        ]
        return AttackResult(
            adversarial=torch.cat([part.adversarial for part in parts]),
            success=torch.cat([part.success for part in parts]),
            target=None,
            iterations=torch.cat([part.iterations for part in parts]),
        )

    images, labels = images[:count], labels[:count]
    whole = attack(count)
    for batch_size in (1, 7):
        parts = attack(batch_size)
        torch.testing.assert_close(parts.adversarial, whole.adversarial, rtol=0, atol=1e-4)
        assert torch.equal(parts.success, whole.success)


@pytest.mark.parametrize("method", [*METHODS, *SAMPLED])
def test_the_same_streams_give_the_same_images(
    method: Method, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    first, again, other = (
        ossa(
            model,
            images,
            labels,
            generator=SampleGenerator(seed, range(len(images))),
            epsilon=0.5,
            method=method,
        ).adversarial
        for seed in (7, 7, 8)
    )
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (method == "exact")


def test_impossible_steps_are_refused(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    with pytest.raises(AdvdetectError, match="at least 1"):
        ossa(model, images, labels, generator=generator, epsilon=0.1, steps=0)
