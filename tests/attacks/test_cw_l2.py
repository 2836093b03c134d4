import math
from functools import partial

import pytest
import torch
from attack_models import COUNT, make_linear_model
from penalty_cases import (
    clear_margin,
    constant_at,
    hinge_of,
    least_to_targets,
    linear_classes,
    margin_of,
    margins,
    norms,
    points_of,
    run,
    shown_to,
)
from torch import Tensor, nn

from advdetect.attacks.cw_l2 import cw_l2, cw_l2_sweep
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

EDGE = math.atanh(0.99)
# Long steps, so that a few of them suffice.
quick = partial(cw_l2, iterations=60, search_steps=4, learning_rate=0.05)


@pytest.mark.parametrize("target", [None, "next"])
@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_two_linear_classes_to_half_a_percent(kappa: float, target: str | None) -> None:
    model, difference, image = make_linear_model()
    attack = partial(cw_l2, kappa=kappa, target=target, iterations=200)
    result = run(attack, model, image, torch.tensor([0]))
    least = 0.3 + kappa / difference.norm().item()
    assert result.success.all()
    assert least * (1 - 1e-5) <= norms(result, image).item() <= least * 1.005


@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_many_linear_classes_to_half_a_percent(kappa: float) -> None:
    model, images, labels, least = linear_classes()
    result = run(partial(cw_l2, kappa=kappa, iterations=200), model, images, labels)
    assert result.success.all()
    ratio = norms(result, images) / least(kappa)
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() <= 1.005
    assert ((result.adversarial > 0) & (result.adversarial < 1)).all(), "the box is to be inactive"


@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_targets_of_a_linear_model_against_a_quadratic_program(kappa: float) -> None:
    model, images, labels, _ = linear_classes()
    attack = partial(cw_l2, kappa=kappa, target="next", iterations=200)
    result = run(attack, model, images, labels)
    assert result.success.all()
    assert result.target is not None
    ratio = norms(result, images) / least_to_targets(model, images, result.target, kappa)
    assert ratio.min() >= 1 - 1e-6
    assert ratio.max() <= 1.005


@pytest.mark.parametrize("colour", [0.0, 1.0])
def test_black_and_white_pixels_move_as_far_as_they_should(colour: float) -> None:
    """From black, the least perturbation is along the positive weights; from white the others."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(16, dtype=torch.float64, generator=generator)
    linear = nn.Linear(16, 2).double()
    model = nn.Sequential(nn.Flatten(), linear).eval()
    images = torch.full((1, 1, 4, 4), colour, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.stack([torch.zeros(16), weight]))
        linear.bias.copy_(torch.tensor([1 + colour * weight.sum(), 0]))
    inward = weight.clamp_min(0) if colour == 0 else weight.clamp_max(0)
    least = 1 / inward.norm()
    result = run(partial(cw_l2, iterations=300), model, images, torch.tensor([0]))
    assert result.success.all()
    assert least * (1 - 1e-9) <= norms(result, images).item() <= least * 1.005
    change = (result.adversarial - images).flatten()
    torch.testing.assert_close(change, least**2 * inward, rtol=0, atol=0.02 * least.item())


def test_first_run_is_that_of_the_paper(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """The first iterates against autograd of the formula and PyTorch's own Adam, in float64."""
    model, image, label = model.double(), images[1:2].double(), int(labels[1])
    with shown_to(model) as shown:
        attack = partial(cw_l2, kappa=1.0, search_steps=1, iterations=200)
        run(attack, model, image, labels[1:2])
    # The ranking, 50 steps towards the classes, and a look at the nearest success.
    start, shown = shown[51], shown[52:]
    assert clear_margin(model, start, label, 1.0)
    constant = 1.5 * constant_at(lambda point: margin_of(model(point), label), image, start)
    w = torch.atanh(0.99 * (2 * start - 1)).requires_grad_()
    optimizer = torch.optim.Adam([w], lr=0.01)
    for iteration in range(20):
        adversarial = (w.tanh() / 0.99 + 1) / 2
        torch.testing.assert_close(shown[iteration], adversarial.detach(), rtol=0, atol=1e-9)
        distance = (adversarial - image).square().sum()
        objective = distance + constant * hinge_of(model(adversarial), label, 1.0)
        optimizer.zero_grad()
        objective.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        w.data.clamp_(-EDGE, EDGE)
    assert (shown[19] - start).abs().amax() > 0.001


@pytest.mark.parametrize("kappa", [0.0, pytest.param(3.0, marks=pytest.mark.long)])
def test_nearest_success_of_all_iterates_is_returned(
    kappa: float, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    found = 0
    for row in range(9, 15):
        image, label = images[row : row + 1], labels[row : row + 1]
        with shown_to(model) as shown:
            result = run(partial(quick, kappa=kappa), model, image, label)
        successes = [
            point for point in points_of(shown) if clear_margin(model, point, int(label), kappa)
        ]
        assert result.success.item() == bool(successes)
        if successes:
            nearest = min(successes, key=lambda point: float((point - image).norm()))
            torch.testing.assert_close(
                (result.adversarial - image).norm(), (nearest - image).norm(), rtol=1e-5, atol=0
            )
            assert any(torch.equal(result.adversarial, point) for point in successes)
            found += 1
    assert found >= 3


@pytest.mark.parametrize(("target", "kappa"), [(None, 7.0), ("next", 5.0)])
def test_every_success_has_the_margin_asked_for(
    target: str | None, kappa: float, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(partial(quick, kappa=kappa, target=target), model, images, labels)
    assert 3 <= int(result.success.sum()) < COUNT, "the test needs successes and failures"
    if result.target is None:
        reached = -margins(model, result.adversarial, labels)
    else:
        reached = margins(model, result.adversarial, result.target)
    assert (reached[result.success] >= kappa).all()
    assert (reached[~result.success] < kappa).all()
    assert reached[result.success].median() < 1.05 * kappa
    assert torch.equal(result.adversarial[~result.success], images[~result.success])


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # In float32 a matrix product rounds differently in a batch of another size.
    [(torch.float64, 1e-9), (torch.float32, 1e-4)],
)
@pytest.mark.parametrize("target", [None, pytest.param("random", marks=pytest.mark.long)])
def test_sweep_is_single_calls_in_any_order(
    target: str | None,
    dtype: torch.dtype,
    tolerance: float,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
) -> None:
    model, images, labels = model.to(dtype), images[:24].to(dtype), labels[:24]
    common = {"target": target, "iterations": 30, "search_steps": 3, "learning_rate": 0.1}

    def sweep(*kappas: float) -> dict:
        results = cw_l2_sweep(
            model,
            images,
            labels,
            generator=SampleGenerator(7, range(24)),
            variants=[{"kappa": kappa} for kappa in kappas],
            **common,  # type: ignore[arg-type]
        )
        return dict(zip(kappas, results, strict=True))

    forward, backward = sweep(0.0, 5.0, 10.0), sweep(10.0, 0.0, 5.0)
    assert forward[0.0].success.sum() > forward[10.0].success.sum()
    assert any(result.success.any() for kappa, result in forward.items() if kappa > 0) or target
    for kappa in (0.0, 5.0, 10.0):
        alone = run(partial(cw_l2, kappa=kappa, **common), model, images, labels)
        for together in (forward[kappa], backward[kappa]):
            assert torch.equal(together.success, alone.success)
            torch.testing.assert_close(
                together.adversarial, alone.adversarial, rtol=0, atol=tolerance
            )
            if target is not None:
                assert torch.equal(together.target, alone.target)  # type: ignore[arg-type]
            if dtype == torch.float64:
                assert torch.equal(together.iterations, alone.iterations)


def test_result_in_float32_depends_on_the_batch_by_rounding_only(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    whole = run(quick, model, images, labels)
    assert int(whole.success.sum()) > 0
    for size, count in ((1, 2), (7, 14)):
        for start in range(0, count, size):
            rows = slice(start, start + size)
            part = run(quick, model, images[rows], labels[rows])
            assert torch.equal(part.success, whole.success[rows])
            torch.testing.assert_close(part.adversarial, whole.adversarial[rows], rtol=0, atol=1e-4)


def test_results_of_a_sweep_share_no_memory(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    first, second = cw_l2_sweep(
        model,
        images,
        labels,
        generator=generator,
        variants=[{"kappa": 0.0}, {"kappa": 1.0}],
        search_steps=1,
        iterations=5,
    )
    before = second.adversarial.clone(), images.clone()
    first.adversarial.zero_()
    assert torch.equal(second.adversarial, before[0])
    assert torch.equal(images, before[1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"kappa": -1.0}, "kappa of an attack must be at least 0, not -1.0"),
        ({"search_steps": 0}, "must be at least 1, not 0 and 1000"),
        ({"iterations": 0}, "must be at least 1, not 9 and 0"),
        ({"learning_rate": 0.0}, "learning_rate of an attack must be greater than 0, not 0.0"),
        ({"target": "nearest"}, "must be one of random, next, least_likely, not 'nearest'"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        run(partial(cw_l2, **parameters), model, images, labels)
