"""The search for c on a toy whose critical c is known, and the pieces that the attacks share."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advdetect.attacks.penalty import (
    Loss,
    Optimizer,
    adam,
    attack_by_penalty,
    hinge,
    record,
    weighted_gradient,
)
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator

FRESH = 4  # runs from the image after the search
FIRST = 0.5  # first c of the toy


class Toy:
    """An attack that succeeds exactly where c reaches a critical value, which is its κ.

    It writes down, for each critical value, what each iteration found: c, the number of the
    iteration, and how far the variable and the moment have been moved since they were zero.
    """

    def __init__(self, objective: Callable[[State], Tensor]) -> None:
        self.objective = objective
        self.seen: dict[float, list[tuple[float, int, float, float]]] = {}

    def loss(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        # The model is linear with a gradient of squared length 4: the first c is 2 · value / 4.
        value = torch.full_like(logits[:, 0], 2 * FIRST)
        derivative = torch.tensor([1.0, 0.0], dtype=logits.dtype).expand_as(logits)
        return value, derivative, state["constant"] >= state["kappa"]

    def step(self, state: State) -> None:
        for lane, kappa in enumerate(state["kappa"].tolist()):
            row = (
                state["constant"][lane].item(),
                int(state["iteration"][lane]),
                state["place"][lane].mean().item(),
                state["moment"][lane].mean().item(),
            )
            self.seen.setdefault(kappa, []).append(row)
        state["place"] += 1
        state["moment"] += 1
        state["objective"] = self.objective(state)
        success = state["constant"] >= state["kappa"]
        record(state, state["origin"] * 0.5, success, [state["constant"]])

    def attack(self, criticals: list[float], **parameters: int) -> list[AttackResult]:
        linear = nn.Linear(4, 2, bias=False).double()
        nn.init.zeros_(linear.weight)
        nn.init.ones_(linear.weight[:1])
        results = attack_by_penalty(
            nn.Sequential(nn.Flatten(), linear),
            torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64),
            torch.tensor([0]),
            self.loss,
            Optimizer(["place"], ["moment"], self.step),
            generator=SampleGenerator(0, [0]),
            target=None,
            kappas=criticals,
            rules=1,
            **parameters,  # type: ignore[arg-type]
        )
        return [result for (result,) in results]

    def runs(self, critical: float) -> list[list[tuple[float, int, float, float]]]:
        """Return what was seen, cut where the iterations start anew."""
        runs: list[list[tuple[float, int, float, float]]] = []
        for row in self.seen[critical]:
            if row[1] == 0:
                runs.append([])
            runs[-1].append(row)
        return runs


def falling(state: State) -> Tensor:
    return 1 / (1 + state["iteration"].double())


# From far below the first c to far above it; just above, just below and at it.
CRITICALS = [0.03, 0.49, 0.5, 0.51, 3.0, 7.7, 2345.0]


def test_constant_is_known_to_a_tenth() -> None:
    toy = Toy(falling)
    results = toy.attack(CRITICALS, search_steps=30, iterations=20)
    for critical, result in zip(CRITICALS, results, strict=True):
        constants = [run[0][0] for run in toy.runs(critical)]
        search, fresh = constants[:-FRESH], constants[-FRESH:]
        assert search[0] == FIRST
        found = min(constant for constant in search if constant >= critical)
        failed = max([constant for constant in search if constant < critical])
        assert found - failed < 0.1 * found
        assert critical <= found <= critical / 0.9
        assert fresh == pytest.approx([4 * found * 0.63**run for run in range(FRESH)])
        assert result.success.all()
        assert torch.equal(result.adversarial, torch.full((1, 1, 2, 2), 0.25).double())


def test_constant_grows_tenfold_until_a_success_and_then_halves_the_interval() -> None:
    toy = Toy(falling)
    toy.attack(CRITICALS, search_steps=30, iterations=20)
    for critical in CRITICALS:
        lower, upper, expected = 0.0, math.inf, FIRST
        for run in toy.runs(critical)[:-FRESH]:
            constant = run[0][0]
            assert constant == pytest.approx(expected)
            assert upper - lower >= 0.1 * upper or upper == math.inf, "the search was to end here"
            lower, upper = (
                (lower, constant) if constant >= critical else (max(lower, constant), upper)
            )
            expected = 10 * constant if upper == math.inf else (lower + upper) / 2
    assert [run[0][0] for run in toy.runs(2345.0)][:5] == [0.5, 5, 50, 500, 5000]


def test_a_value_of_kappa_is_searched_as_if_it_were_alone() -> None:
    together = Toy(falling)
    results = together.attack(CRITICALS, search_steps=30, iterations=20)
    for critical, result in zip(CRITICALS, results, strict=True):
        alone = Toy(falling)
        (expected,) = alone.attack([critical], search_steps=30, iterations=20)
        assert alone.seen[critical] == together.seen[critical]
        assert torch.equal(result.iterations, expected.iterations)


def test_search_goes_on_where_it_is_and_fresh_runs_start_at_the_image() -> None:
    toy = Toy(falling)
    toy.attack([7.7], search_steps=30, iterations=20)
    runs = toy.runs(7.7)
    assert len(runs) > 4
    moved = 0
    for number, run in enumerate(runs):
        fresh = number >= len(runs) - FRESH
        # A run of the search has told all at its first success; a fresh one looks for the nearest.
        assert len(run) == (1 if run[0][0] >= 7.7 and not fresh else 20)
        start = 0 if fresh else moved
        for iteration, row in enumerate(run):
            assert row == (run[0][0], iteration, start + iteration, iteration)
        moved += len(run)


@pytest.mark.parametrize("search_steps", [1, 4])
def test_search_steps_bound_a_search_without_success(search_steps: int) -> None:
    toy = Toy(falling)
    (result,) = toy.attack([1e9], search_steps=search_steps, iterations=20)
    constants = [run[0][0] for run in toy.runs(1e9)]
    expected = [FIRST * 10**step for step in range(search_steps + FRESH)]
    assert constants == pytest.approx(expected)
    assert not result.success.any()
    assert (result.adversarial == 0.5).all()
    assert result.iterations.item() == 20 * (search_steps + FRESH)
    assert result.gradient_calls.item() == 20 * (search_steps + FRESH) + 1


def test_search_steps_bound_a_search_with_success() -> None:
    toy = Toy(falling)
    toy.attack([3.0], search_steps=3, iterations=20)
    constants = [run[0][0] for run in toy.runs(3.0)]
    assert constants == pytest.approx([0.5, 5, 2.75, 20, 12.6, 7.938, 5.00094])


def test_a_run_ends_where_its_objective_stalls() -> None:
    """By less than 1e-4 between two of the twenty checks, each lane for itself."""
    shares = {1e9: 0.99, 2e9: 1.0, 3e9: 1 - 0.5e-4, 4e9: 1 - 2e-4, 5e9: 1.01}

    def objective(state: State) -> Tensor:
        share = torch.tensor([shares[kappa] for kappa in state["kappa"].tolist()]).double()
        # Each run starts higher than the last one ended: that is no stall.
        return state["constant"] * share ** ((state["iteration"] + 1) / 5)

    toy = Toy(objective)
    results = toy.attack(list(shares), search_steps=2, iterations=100)
    lengths = [[len(run) for run in toy.runs(critical)] for critical in shares]
    assert lengths == [[taken] * (2 + FRESH) for taken in (100, 10, 10, 100, 10)]
    for length, result in zip(lengths, results, strict=True):
        assert result.iterations.item() == sum(length)


@pytest.mark.parametrize(("iterations", "taken"), [(1, 1), (20, 20), (21, 22), (30, 30)])
def test_iterations_are_rounded_up_to_the_next_check(iterations: int, taken: int) -> None:
    toy = Toy(falling)
    toy.attack([1e9], search_steps=1, iterations=iterations)
    assert [len(run) for run in toy.runs(1e9)] == [taken] * (1 + FRESH)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1e6), (0.0, 1e-3)])
def test_first_constant_is_a_number_where_there_is_no_gradient(
    share: float, expected: float
) -> None:
    class Silent(Toy):
        def loss(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
            value, derivative, success = super().loss(logits, state)
            return share * value, derivative * 0, success

    toy = Silent(falling)
    toy.attack([1e9], search_steps=1, iterations=1)
    assert toy.runs(1e9)[0][0][0] == expected


def test_gradient_calls_are_backward_passes(model: nn.Module, images: Tensor) -> None:
    """Counted where gradients arrive, for one image alone."""
    model, image = model.double(), images[1:2].double()
    passes, shown = 0, 0

    def count(*_arguments: object) -> None:
        nonlocal passes
        passes += 1

    def watch(_module: nn.Module, _arguments: object, output: Tensor) -> None:
        nonlocal shown
        shown += 1
        if output.requires_grad:
            output.register_hook(count)

    def step(state: State) -> None:
        moved = state["origin"] + state["shift"]
        penalty, success, gradient = weighted_gradient(model, moved, loss, state)
        state["objective"] = state["shift"].flatten(1).square().sum(dim=1) + penalty
        record(state, moved, success, [state["objective"]])
        adam(state, gradient + 2 * state["shift"], "shift", 0.05)

    loss = hinge(targeted=False)
    with torch.no_grad():
        label = model(image).argmax(dim=1)
    handle = model.register_forward_hook(watch)
    ((result,),) = attack_by_penalty(
        model,
        image,
        label,
        loss,
        Optimizer(["shift"], ["mean", "square"], step),
        generator=SampleGenerator(0, [0]),
        target=None,
        kappas=[0.0],
        rules=1,
        search_steps=4,
        iterations=30,
    )
    handle.remove()
    assert result.success.all()
    assert result.gradient_calls.item() == passes == shown
    assert result.iterations.item() == passes - 1


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
        Optimizer(["shift"], [], step),
        generator=SampleGenerator(7, range(len(images))),
        target=target,
        kappas=[0.0, 5.0],
        rules=2,
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


def lanes(logits: Tensor, goal: Tensor, kappa: Tensor) -> State:
    return {"goal": goal, "kappa": kappa, "constant": torch.linspace(0.1, 9, len(logits)).double()}


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
        others = torch.stack([variable[i] for i in range(6) if i != goal[row]]).max()
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
        "reached": torch.tensor([False, False, True, False]),
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
    assert state["reached"].tolist() == [True, True, True, True]
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
        "place": zero.clone(),
    }
    for number, gradient in enumerate(gradients):
        if number == 10:  # the second lane starts anew
            for name in ("iteration", "mean", "square", "place"):
                state[name][1] = 0
        adam(state, gradient, "place", 0.01)
        state["iteration"] += 1
    for lane, first in ((0, 0), (1, 10)):
        place = zero[0].clone().requires_grad_()
        optimizer = torch.optim.Adam([place], lr=0.01)
        for gradient in gradients[first:, lane]:
            place.grad = gradient
            optimizer.step()
        torch.testing.assert_close(state["place"][lane], place.detach(), rtol=1e-9, atol=1e-12)


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
            Optimizer([], [], lambda state: None),
            generator=SampleGenerator(0, range(len(images))),
            rules=1,
            **parameters,
        )
