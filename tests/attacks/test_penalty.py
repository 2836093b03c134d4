"""The pieces that the penalty attacks share, but for the search."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advdetect.attacks.penalty import (
    adam,
    attack_by_penalty,
    hinge,
    squared_norm,
    weighted_gradient,
)
from advdetect.attacks.penalty_search import Loss, Optimizer, difference
from advdetect.attacks.record import record
from advdetect.errors import AdvdetectError
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator


@pytest.mark.parametrize("target", ["random", "next", "least_likely", None])
def test_targets_are_recorded(
    target: str | None, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def step(state: State) -> None:
        state["objective"] = state["constant"]

    results = attack_by_penalty(
        model,
        images,
        labels,
        hinge(targeted=target is not None),
        optimizer(step),
        generator=SampleGenerator(7, range(len(images))),
        target=target,
        kappas=[0.0, 5.0],
        norms=["l2", "l2"],
        search_steps=1,
        iterations=1,
    )
    assert [len(rules) for rules in results] == [2, 2]
    found = [result.target for rules in results for result in rules]
    with torch.no_grad():
        wrong = model(images).scatter(1, labels[:, None], torch.inf)
    if target is None:
        assert found == [None] * 4
        return
    for goal in found:
        assert goal is not None
        assert (goal != labels).all()
        if target == "next":
            assert torch.equal(goal, (labels + 1) % 5)
        if target == "least_likely":
            assert torch.equal(goal, wrong.argmin(dim=1))
        if target == "random":
            assert goal.unique().numel() == 5
            assert torch.equal(goal, found[0])  # type: ignore[arg-type]


def optimizer(step: Callable[[State], None]) -> Optimizer:
    """Return one whose distances and pull are of the squared L2 norm, by both rules."""
    return Optimizer(
        [],
        step,
        difference,
        distances=lambda change: [squared_norm(change)] * 2,
        pull=lambda change: 2 * squared_norm(change),
        excess=1.0,
        settled=50,
    )


def lanes(logits: Tensor, goal: Tensor, kappa: Tensor) -> State:
    return {
        "goal": goal,
        "kappa": kappa,
        "constant": torch.linspace(0.1, 9, len(logits)).double(),
    }


@pytest.fixture
def logits() -> Tensor:
    return 4 * torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("targeted", [False, True])
def test_hinge_is_the_formula_and_its_derivative(targeted: bool, logits: Tensor) -> None:
    generator = torch.Generator().manual_seed(4)
    goal = torch.randint(6, (50,), generator=generator)
    kappa = 5 * torch.rand(50, dtype=torch.float64, generator=generator)
    value, derivative, success = hinge(targeted)(logits, lanes(logits, goal, kappa))
    for row in range(50):
        variable = logits[row].clone().requires_grad_()
        one = variable[goal[row]]
        others = torch.stack([variable[i] for i in range(6) if i != int(goal[row])]).max()
        formula = torch.relu((others - one if targeted else one - others) + kappa[row])
        (expected,) = torch.autograd.grad(formula, variable)
        assert value[row].item() == pytest.approx(formula.item(), abs=1e-12)
        torch.testing.assert_close(derivative[row], expected, rtol=0, atol=0)
        assert success[row] == (formula == 0)
    assert 0 < int(success.sum()) < 50


def test_hinge_pushes_a_tie_on() -> None:
    """A margin of exactly κ is no success yet, so the gradient must not be zero there."""
    logits = torch.tensor([[1.0, 1.0, 0.0], [1.0, 3.0, 0.0]])
    state = lanes(logits, torch.tensor([0, 0]), torch.tensor([0.0, 2.0]))
    value, derivative, success = hinge(targeted=False)(logits, state)
    assert not success.any()
    assert (value > 0).all()
    assert derivative.tolist() == [[1, -1, 0], [1, -1, 0]]


def test_hinge_of_no_numbers_is_no_success() -> None:
    logits = torch.full((1, 3), torch.nan)
    state = lanes(logits, torch.tensor([0]), torch.tensor([0.0]))
    assert not hinge(targeted=False)(logits, state)[2].any()


def test_weighted_gradient_is_that_of_c_times_the_loss(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    state = lanes(images, labels, torch.full((len(images),), 2.0).double())
    value, success, gradient = weighted_gradient(model, images, hinge(targeted=False), state)
    variable = images.clone().requires_grad_()
    logits = model(variable)
    own = logits.gather(1, labels[:, None])[:, 0]
    rival = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
    expected = state["constant"] * (2 + own - rival).clamp_min(0)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-9, atol=1e-9)
    (by_image,) = torch.autograd.grad(expected.sum(), variable)
    torch.testing.assert_close(gradient, by_image, rtol=1e-9, atol=1e-9)
    assert torch.equal(success, (rival - own >= 2).detach())


def test_record_keeps_the_nearest_success_by_each_rule() -> None:
    state = {
        "best": torch.zeros(4, 2, 1, 1, 1),
        "shortest": torch.tensor([[2.0, 2.0], [torch.inf, torch.inf], [2.0, 2.0], [2.0, 2.0]]),
    }
    candidate = torch.arange(1.0, 5.0).view(4, 1, 1, 1)
    success = torch.tensor([True, True, False, True])
    record(
        state,
        candidate,
        success,
        [torch.tensor([1.0, 9.0, 0.5, 2.0]), torch.tensor([3.0, 1.0, 0.5, 1.9])],
    )
    # Nearer by the first rule only; the first at all; no success; no nearer, and nearer.
    assert state["best"].flatten(1).tolist() == [[1, 0], [2, 2], [0, 0], [0, 4]]
    expected = [[1, 2], [9, 1], [2, 2], [2, pytest.approx(1.9)]]
    assert state["shortest"].tolist() == expected


def test_adam_is_that_of_torch_for_lanes_that_started_at_different_times() -> None:
    generator = torch.Generator().manual_seed(5)
    gradients = torch.randn(30, 2, 1, 3, 3, dtype=torch.float64, generator=generator)
    gradients *= torch.logspace(-6, 3, 9, dtype=torch.float64).view(3, 3)
    gradients[:, :, :, 0, 0] = 0
    zero = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    state = {
        "iteration": torch.tensor([0, 0]),
        "mean": zero.clone(),
        "square": zero.clone(),
        "shift": zero.clone(),
    }
    for number, gradient in enumerate(gradients):
        if number == 10:  # the second lane starts anew
            for name in ("iteration", "mean", "square", "shift"):
                state[name][1] = 0
        adam(state, gradient, 0.01)
        state["iteration"] += 1
    for lane, first in ((0, 0), (1, 10)):
        place = zero[0].clone().requires_grad_()
        optimizer = torch.optim.Adam([place], lr=0.01)
        for gradient in gradients[first:, lane]:
            place.grad = gradient
            optimizer.step()
        torch.testing.assert_close(state["shift"][lane], place.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kappas": [0.0, -1.0]}, "kappa of an attack must be at least 0, not -1.0"),
        ({"search_steps": 0}, "must be at least 1, not 0 and 5"),
        ({"iterations": 0}, "must be at least 1, not 5 and 0"),
        ({"target": "nearest"}, "target of an attack must be one of .* not 'nearest'"),
    ],
)
def test_impossible_parameters_are_refused(
    wrong: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    loss: Loss = hinge(targeted=False)
    parameters = {"kappas": [0.0], "search_steps": 5, "iterations": 5, "target": None} | wrong
    with pytest.raises(AdvdetectError, match=message):
        attack_by_penalty(
            model,
            images,
            labels,
            loss,
            optimizer(lambda state: None),
            generator=SampleGenerator(0, range(len(images))),
            **parameters,
        )
