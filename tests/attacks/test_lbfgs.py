import math
from functools import partial

import numpy as np
import pytest
import torch
from attack_models import COUNT, make_linear_model
from scipy import optimize
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.lbfgs import lbfgs
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

SEARCH_STEPS = 7


def norms(adversarial: Tensor, images: Tensor) -> Tensor:
    return torch.linalg.vector_norm((adversarial - images).double().flatten(1), dim=1)


def predict(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return model(images).argmax(dim=1)


def least_norm(weight: np.ndarray, bias: np.ndarray, image: np.ndarray, target: int) -> float:
    """Return the distance to the region of a linear model's class within the box."""
    others = np.delete(np.arange(len(bias)), target)
    slopes, offsets = weight[target] - weight[others], bias[target] - bias[others]
    found = optimize.minimize(
        lambda point: ((point - image) @ (point - image), 2 * (point - image)),
        image,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(image),
        constraints={
            "type": "ineq",
            "fun": lambda point: slopes @ point + offsets,
            "jac": lambda point: slopes,
        },
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert found.success
    return math.sqrt(found.fun)


def reference_norm(model: nn.Module, image: Tensor, target: int) -> float:
    """Szegedy's attack on one image, each minimisation by SciPy's L-BFGS-B from the image."""
    origin = image.numpy().astype(np.float64).ravel()

    def objective(point: np.ndarray, constant: float) -> tuple[float, np.ndarray]:
        variable = torch.from_numpy(point).float().view(1, *image.shape).requires_grad_()
        loss = functional.cross_entropy(model(variable), torch.tensor([target]))
        (gradient,) = torch.autograd.grad(loss, variable)
        shift = point - origin
        slope = gradient.numpy().ravel().astype(np.float64) + 2 * constant * shift
        return loss.item() + constant * shift @ shift, slope

    constant, succeeds, fails, best = 1.0, 0.0, math.inf, math.inf
    for _ in range(SEARCH_STEPS):
        point = optimize.minimize(
            objective,
            origin,
            args=(constant,),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * len(origin),
            options={"ftol": 1e-5, "maxiter": 100},
        ).x
        if predict(model, torch.from_numpy(point).float().view(1, *image.shape)).item() == target:
            succeeds, best = constant, min(best, float(np.linalg.norm(point - origin)))
        else:
            fails = constant
        if math.isinf(fails):
            constant *= 10
        else:
            constant = math.sqrt(succeeds * fails) if succeeds else constant / 10
    return best


def test_two_linear_classes_to_one_percent() -> None:
    model, _, image = make_linear_model()
    generator = SampleGenerator(0, [0])
    result = lbfgs(model, image, torch.tensor([0]), generator=generator)
    assert result.success.all()
    assert norms(result.adversarial, image).item() == pytest.approx(0.3, rel=0.01)
    assert norms(result.adversarial, image).item() >= 0.3 * (1 - 1e-5)


@pytest.mark.parametrize("target", ["random", "next", "least_likely"])
def test_many_linear_classes_against_a_quadratic_program(target: str) -> None:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(36, 6).double()
    # Steep, so that the cross entropy is nearly the distance to the nearest boundary: where more
    # classes than one share the probability, its minimisers are not the nearest images.
    nn.init.normal_(linear.weight, std=30, generator=generator)
    nn.init.normal_(linear.bias, std=30, generator=generator)
    model = nn.Sequential(nn.Flatten(), linear).eval()
    images = torch.rand(COUNT, 1, 6, 6, dtype=torch.float64, generator=generator)
    images = (images * 1.5 - 0.25).clamp(0, 1)
    labels = predict(model, images)
    result = lbfgs(
        model,
        images,
        labels,
        generator=SampleGenerator(0, range(COUNT)),
        target=target,  # type: ignore[arg-type]
    )
    assert result.target is not None
    assert result.success.all()
    assert torch.equal(predict(model, result.adversarial), result.target)
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    least = torch.tensor(
        [
            least_norm(weight, bias, images[row].flatten().numpy(), int(result.target[row]))
            for row in range(COUNT)
        ]
    )
    ratio = norms(result.adversarial, images) / least
    assert ratio.min() >= 1 - 1e-6
    assert ratio.mean() <= 1.02
    at_bounds = (result.adversarial != images) & (
        (result.adversarial == 0) | (result.adversarial == 1)
    )
    assert at_bounds.any(), "the test needs active bounds"


@pytest.mark.long
def test_no_further_than_scipy_on_digits(lenet_and_digits) -> None:
    model, digits = lenet_and_digits
    images = digits.images[:60].float() / 255
    labels = predict(model, images)
    result = lbfgs(
        model,
        images,
        labels,
        generator=SampleGenerator(0, range(60)),
        search_steps=SEARCH_STEPS,
    )
    assert result.target is not None
    assert result.success.all()
    assert torch.equal(predict(model, result.adversarial), result.target)
    few = range(6)
    expected = [reference_norm(model, images[row], int(result.target[row])) for row in few]
    assert norms(result.adversarial, images)[:6].mean().item() <= 1.01 * np.mean(expected)


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.long), 7])
def test_result_does_not_depend_on_the_batch_size(
    size: int, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    # In long minimisations rounding grows a billionfold; in those of 20 evaluations it does not.
    attack = partial(lbfgs, model, iterations=20)
    whole = attack(images, labels, generator=SampleGenerator(7, range(COUNT)))
    for start in range(0, COUNT, size):
        rows = slice(start, start + size)
        generator = SampleGenerator(7, range(COUNT))[rows]
        part = attack(images[rows], labels[rows], generator=generator)
        torch.testing.assert_close(part.adversarial, whole.adversarial[rows], rtol=0, atol=1e-9)
        for field in ("success", "iterations"):
            assert torch.equal(getattr(part, field), getattr(whole, field)[rows])
    assert 0 < int(whole.success.sum()) < COUNT, "the test needs successes and failures"


def test_successes_are_of_the_target_and_failures_unchanged(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    result = lbfgs(
        model, images, labels, generator=generator, search_steps=1, initial_constant=0.05
    )
    assert result.adversarial.dtype == torch.float32
    assert result.adversarial.shape == images.shape
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    reached = predict(model, result.adversarial) == result.target
    assert torch.equal(result.success, reached)
    assert 0 < int(reached.sum()) < COUNT, "the test needs successes and failures"
    failed = ~result.success
    assert torch.equal(result.adversarial[failed], images[failed])


def test_an_image_that_is_of_the_target_class_already_is_returned(
    model: nn.Module, images: Tensor, generator: SampleGenerator
) -> None:
    labels = (predict(model, images) - 1) % 5
    result = lbfgs(model, images, labels, generator=generator, target="next")
    assert result.success.all()
    assert torch.equal(result.adversarial, images)
    assert (result.iterations <= 1).all()


def test_more_search_steps_come_nearer(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    few = lbfgs(model, images, labels, generator=generator, target="next", search_steps=4)
    many = lbfgs(model, images, labels, generator=generator, target="next")
    assert many.success.all()
    both = few.success
    shorter = norms(many.adversarial, images)[both]
    assert (shorter <= norms(few.adversarial, images)[both]).all()


@pytest.mark.parametrize("constant", [1e-3, pytest.param(1e3, marks=pytest.mark.long)])
def test_the_first_constant_matters_little(
    constant: float, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attack = partial(lbfgs, model, images, labels, target="next")
    usual = attack(generator=SampleGenerator(7, range(COUNT)))
    other = attack(generator=SampleGenerator(7, range(COUNT)), initial_constant=constant)
    assert other.success.all()
    expected = norms(usual.adversarial, images).mean().item()
    assert norms(other.adversarial, images).mean().item() == pytest.approx(expected, rel=0.03)


def test_zero_gradient_leaves_the_image(images: Tensor, generator: SampleGenerator) -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :5] * 0 + torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])

    labels = torch.full((COUNT,), 2)
    labels[0] = 1
    result = lbfgs(Flat().eval(), images, labels, generator=generator, target="next")
    assert torch.equal(result.adversarial, images)
    assert result.success.nonzero().flatten().tolist() == [0]


def test_black_and_white_pixels_can_change(model: nn.Module, generator: SampleGenerator) -> None:
    values = torch.rand(COUNT, 2, 6, 6, generator=torch.Generator().manual_seed(3))
    images = values.round()
    labels = predict(model, images)
    result = lbfgs(model, images, labels, generator=generator)
    assert (result.adversarial[images == 0] > 0.01).any()
    assert (result.adversarial[images == 1] < 0.99).any()


def test_arguments_and_model_are_left_as_they_were(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    images_before, labels_before = images.clone(), labels.clone()
    lbfgs(model, images, labels, generator=generator, search_steps=3)
    assert torch.equal(images, images_before)
    assert torch.equal(labels, labels_before)
    assert not images.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_evaluations_are_bounded_and_counted(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    with counted_passes(model) as passes:
        result = lbfgs(
            model, images, labels, generator=generator, search_steps=4, iterations=5, tolerance=0
        )
    assert result.iterations.max() <= 4 * 5
    assert result.iterations.sum() <= passes.backward <= 4 * 5 * COUNT
    assert passes.forward == passes.backward + COUNT  # the first looks at the images alone


@pytest.mark.parametrize(
    "wrong",
    [
        {"search_steps": 0},
        {"iterations": 0},
        {"memory": 0},
        {"initial_constant": 0.0},
        {"tolerance": -1.0},
        {"target": "nearest"},
    ],
)
def test_impossible_parameters_are_refused(
    wrong: dict, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    with pytest.raises(AdvdetectError, match=rf"(?s){next(iter(wrong))}.* not "):
        lbfgs(model, images, labels, generator=generator, **wrong)
