"""The search on a toy whose critical c is known, and with the attacks on small models."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pytest
import torch
from attack_models import make_model
from penalty_cases import norms, run, shown_to
from torch import Tensor, nn

from advdetect.attacks.cw_l2 import cw_l2
from advdetect.attacks.ead import ead
from advdetect.attacks.logits import rounding
from advdetect.attacks.opt import opt
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.penalty import (
    Loss,
    adam,
    attack_by_penalty,
    hinge,
    record,
    weighted_gradient,
)
from advdetect.attacks.penalty_search import Optimizer, difference
from advdetect.attacks.result import AttackResult
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator

FIRST = 0.5  # first c of the toy
PER_PIXEL = 2.0**14  # steps of the toy; a power of two, so that all its numbers are exact
FAR = 30  # steps from which the toy's images are of class 2, nearer of class 1


class Seen(NamedTuple):
    """What the toy found at an iteration; shift and moment count the steps since they were zero."""

    constant: float
    iteration: int
    shift: float
    moment: float
    passed_over: int


Run = list[Seen]


def falling(state: State) -> Tensor:
    return 1 / (1 + state["iteration"].double())


def from_kappa(state: State) -> Tensor:
    """Succeed exactly where c reaches a critical value, which is the toy's κ."""
    return state["constant"] >= state["kappa"]


def constant_of(state: State) -> Tensor:
    return state["constant"]


def steps_of(state: State) -> Tensor:
    return state["shift"].flatten(1).mean(dim=1)


class Toy:
    """An attack that moves all pixels by one step per iteration, whatever the model says.

    It writes down, for each value of κ, what each iteration found.
    """

    def __init__(
        self,
        objective: Callable[[State], Tensor] = falling,
        *,
        reaches: Callable[[State], Tensor] = from_kappa,
        distance: Callable[[State], Tensor] = constant_of,
        classes: int = 3,
    ) -> None:
        self.objective = objective
        self.reaches = reaches
        self.distance = distance
        self.seen: dict[float, Run] = {}
        # The gradient of class 0 has a squared length of 4. Class 2 overtakes class 1 at FAR steps.
        weight = torch.tensor([1.0, 0.0, PER_PIXEL / 4]).double()
        linear = nn.Linear(4, classes).double()
        with torch.no_grad():
            linear.weight.copy_(weight[:classes, None].expand(-1, 4))
            linear.bias.copy_(torch.tensor([0.0, 10.0, 10.5 - FAR - PER_PIXEL / 2])[:classes])
        self.model = nn.Sequential(nn.Flatten(), linear)

    def loss(self, logits: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        value = torch.full_like(logits[:, 0], 2 * FIRST)  # the first c is 2 · value / 4
        derivative = torch.zeros_like(logits)
        derivative[:, 0] = 1
        return value, derivative, self.reaches(state)

    def step(self, state: State) -> None:
        entries = ("constant", "iteration", "shift", "moment", "passed_over")
        columns = [state[name].view(len(state["kappa"]), -1)[:, 0].tolist() for name in entries]
        for kappa, *row in zip(state["kappa"].tolist(), *columns, strict=True):
            self.seen.setdefault(kappa, []).append(Seen(*row))
        state["shift"] += 1
        state["moment"] += 1
        state["objective"] = self.objective(state)
        moved = state["origin"] + state["shift"] / PER_PIXEL
        record(state, moved, self.reaches(state), [self.distance(state)])

    def attack(
        self, criticals: list[float], *, search_steps: int = 30, iterations: int = 20
    ) -> list[AttackResult]:
        results = attack_by_penalty(
            self.model,
            torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64),
            torch.tensor([0]),
            self.loss,
            Optimizer(
                ["moment"], self.step, lambda state, images: PER_PIXEL * difference(state, images)
            ),
            generator=SampleGenerator(0, [0]),
            target=None,
            kappas=criticals,
            rules=1,
            search_steps=search_steps,
            iterations=iterations,
        )
        return [result for (result,) in results]

    def runs(self, critical: float) -> list[Run]:
        """Return what was seen, cut where the iterations start anew."""
        runs: list[Run] = []
        for row in self.seen[critical]:
            if row.iteration == 0:
                runs.append([])
            runs[-1].append(row)
        return runs


def constants(runs: list[Run]) -> list[float]:
    """Return the c of each run, which is the same for all its iterations."""
    assert all(row.constant == run[0].constant for run in runs for row in run)
    return [run[0].constant for run in runs]


def steps_to_best(search: list[Run], critical: float) -> float:
    """Return after how many steps the smallest c that succeeds did so, at its first iteration."""
    best = min((run for run in search if run[0].constant >= critical), key=lambda run: run[0])
    return best[0].shift + 1


# From far below the first c to far above it; just above, just below and at it.
CRITICALS = [0.03, 0.49, 0.5, 0.51, 3.0, 7.7, 2345.0]


def test_constant_is_known_to_a_quarter() -> None:
    toy = Toy()
    results = toy.attack(CRITICALS)
    for critical, result in zip(CRITICALS, results, strict=True):
        runs = toy.runs(critical)
        *search, other_class, refined = constants(runs)
        assert search[0] == FIRST
        found = min(constant for constant in search if constant >= critical)
        failed = max(constant for constant in search if constant < critical)
        assert found - failed < 0.25 * found
        assert critical <= found <= critical / 0.75
        assert other_class == pytest.approx(1.6 * found, rel=1e-12)
        assert refined == pytest.approx(1.5 * found, rel=1e-12)
        assert result.success.all()
        expected = 0.5 + steps_to_best(runs[:-2], critical) / PER_PIXEL
        assert torch.equal(result.adversarial, torch.full((1, 1, 2, 2), expected).double())


def test_constant_grows_tenfold_until_a_success_and_then_halves_the_interval() -> None:
    toy = Toy()
    toy.attack(CRITICALS)
    for critical in CRITICALS:
        lower, upper, expected = 0.0, math.inf, FIRST
        for constant in constants(toy.runs(critical))[:-2]:
            assert constant == pytest.approx(expected)
            assert upper - lower >= 0.25 * upper or upper == math.inf, "the search was to end here"
            lower, upper = (
                (lower, constant) if constant >= critical else (max(lower, constant), upper)
            )
            expected = 10 * constant if upper == math.inf else (lower + upper) / 2
    assert constants(toy.runs(2345.0))[:5] == [0.5, 5, 50, 500, 5000]


def test_a_value_of_kappa_is_searched_as_if_it_were_alone() -> None:
    together = Toy()
    results = together.attack(CRITICALS)
    for critical, result in zip(CRITICALS, results, strict=True):
        alone = Toy()
        (expected,) = alone.attack([critical])
        assert alone.seen[critical] == together.seen[critical]
        for field in ("adversarial", "success", "iterations"):
            assert torch.equal(getattr(result, field), getattr(expected, field))
        assert result.iterations.item() == len(together.seen[critical])


def test_where_the_runs_start_and_end() -> None:
    """The search goes on where it is; then one run starts at the image, and one at the best."""
    toy = Toy()
    toy.attack(CRITICALS)
    for critical in CRITICALS:
        *search, other_class, refined = toy.runs(critical)
        assert len(search) > 3
        moved = 0
        for seen in search:
            # A run of the search has told all at its first success.
            assert_steps(seen, 1 if seen[0].constant >= critical else 20, start=moved)
            moved += len(seen)
        assert_steps(other_class, 20, start=0)
        assert_steps(refined, 20, start=steps_to_best(search, critical))


def assert_steps(seen: Run, count: int, start: float) -> None:
    expected = [(number, start + number, number) for number in range(count)]
    assert [(row.iteration, row.shift, row.moment) for row in seen] == expected


def test_last_run_starts_at_the_best_success_of_both() -> None:
    """Here the nearest is the first step from the image, which only the other run can take."""
    toy = Toy(distance=steps_of)
    (result,) = toy.attack([7.7])
    runs = toy.runs(7.7)
    assert steps_to_best(runs[:-2], 7.7) > 20
    assert_steps(runs[-1], 20, start=1)
    assert torch.equal(result.adversarial, torch.full((1, 1, 2, 2), 0.5 + 1 / PER_PIXEL).double())


def test_last_constant_is_above_one_that_failed_from_the_image() -> None:
    """Where the search succeeded in passing only, which a run from the image is too short for."""
    toy = Toy(reaches=lambda state: from_kappa(state) & (steps_of(state) >= 25))
    (result,) = toy.attack([0.6])
    runs = toy.runs(0.6)
    *search, other_class, refined = constants(runs)
    found = min(constant for constant in search if constant >= 0.6)
    assert found <= 0.6 / 0.75
    assert len(runs[-2]) == 20
    assert other_class == pytest.approx(1.6 * found, rel=1e-12)
    assert refined == pytest.approx(1.5 * 1.6 * found, rel=1e-12)
    assert result.success.all()
    assert runs[-1][0].shift == steps_to_best(runs[:-2], 0.6)


@pytest.mark.parametrize("search_steps", [1, 4])
def test_search_steps_bound_a_search_without_success(search_steps: int) -> None:
    """One more run from the image, with the next c; then there is nothing to refine."""
    toy = Toy()
    (result,) = toy.attack([1e9], search_steps=search_steps)
    runs = toy.runs(1e9)
    expected = [FIRST * 10**step for step in range(search_steps + 1)]
    assert constants(runs) == pytest.approx(expected)
    starts = [20.0 * step for step in range(search_steps)] + [0.0]
    assert [run[0].shift for run in runs] == starts
    assert {row.passed_over for row in toy.seen[1e9]} == {0}
    assert not result.success.any()
    assert (result.adversarial == 0.5).all()
    assert result.iterations.item() == 20 * (search_steps + 1)


def test_search_steps_bound_a_search_with_success() -> None:
    toy = Toy()
    toy.attack([3.0], search_steps=3)
    assert constants(toy.runs(3.0)) == pytest.approx([0.5, 5, 2.75, 1.6 * 5, 1.5 * 5])


def test_a_success_of_the_run_from_the_image_alone_is_refined() -> None:
    toy = Toy()
    (result,) = toy.attack([50.0], search_steps=2)
    runs = toy.runs(50.0)
    assert constants(runs) == pytest.approx([0.5, 5, 50, 1.5 * 50])
    assert [run[0].shift for run in runs] == [0, 20, 0, 1]
    assert [len(run) for run in runs] == [20] * 4
    assert {row.passed_over for row in toy.seen[50.0]} == {0}, "there was no class to pass over"
    assert result.success.all()
    assert result.iterations.item() == 80


@pytest.mark.parametrize("classes", [2, 3])
def test_class_of_the_best_success_is_passed_over_in_the_run_from_the_image(classes: int) -> None:
    """Neither that of the image nor of the last iterate; of two classes there is no other."""
    toy = Toy(classes=classes)
    toy.attack(CRITICALS)
    passed_over = set()
    for critical in CRITICALS:
        *search, other_class, refined = toy.runs(critical)
        far = steps_to_best(search, critical) >= FAR
        expected = 0 if classes == 2 else 2 if far else 1
        assert {row.passed_over for row in other_class} == {expected}
        assert {row.passed_over for seen in (*search, refined) for row in seen} == {0}
        passed_over.add(expected)
    assert passed_over == ({0} if classes == 2 else {1, 2})


@pytest.mark.parametrize(("iterations", "shortest"), [(40, 40), (100, 50), (400, 60), (1000, 100)])
def test_a_run_ends_where_its_objective_stalls(iterations: int, shortest: int) -> None:
    """By less than 2e-4 per iteration in the search and 2e-5 later, each lane for itself.

    It is looked at 20 times a run, but not before 50 iterations; the first look only remembers.
    """
    every = iterations // 20
    in_search, later = 2e-4 * every, 2e-5 * every
    falls = {
        0.6: 0.0,
        0.7: 0.99 * later,
        0.8: 1.01 * later,
        0.9: 0.99 * in_search,
        1.0: 1.01 * in_search,
        1.1: -0.01,
    }

    def objective(state: State) -> Tensor:
        fall = torch.tensor([falls[kappa] for kappa in state["kappa"].tolist()]).double()
        # Each run starts higher than the last one ended: that is no stall.
        return (1 + state["runs"]) * (1 - fall) ** ((state["iteration"] + 1) / every)

    toy = Toy(objective)
    results = toy.attack(list(falls), search_steps=2, iterations=iterations)
    for (critical, fall), result in zip(falls.items(), results, strict=True):
        runs = toy.runs(critical)
        assert constants(runs) == pytest.approx([0.5, 5, 8, 7.5])
        first = shortest if fall < in_search else iterations
        last = shortest if fall < later else iterations
        assert [len(run) for run in runs] == [first, every, last, last]
        assert result.iterations.item() == first + every + 2 * last


def test_a_run_may_lead_uphill_at_first() -> None:
    """For 46 iterations, so that only the look at 50 iterations would see that it falls by then."""

    def objective(state: State) -> Tensor:
        passed = state["iteration"].double()
        return torch.where(passed < 46, 1 + passed, 46 / passed)

    toy = Toy(objective)
    toy.attack([0.6, 1e9], search_steps=2, iterations=100)
    assert [len(run) for run in toy.runs(0.6)] == [100, 5, 100, 100]
    assert [len(run) for run in toy.runs(1e9)] == [100, 100, 100]


@pytest.mark.parametrize(("iterations", "taken"), [(1, 1), (20, 20), (21, 22), (30, 30)])
def test_iterations_are_rounded_up_to_the_next_check(iterations: int, taken: int) -> None:
    toy = Toy()
    toy.attack([1e9, 0.6], search_steps=1, iterations=iterations)
    assert [len(run) for run in toy.runs(1e9)] == [taken] * 2
    assert [len(run) for run in toy.runs(0.6)] == [taken] * 3


def descent(model: nn.Module, loss: Loss, seen: list[tuple[int, int]]) -> Optimizer:
    """Return Adam on the pixels; it writes down the goal and the class that is passed over."""

    def step(state: State) -> None:
        seen.extend(zip(state["goal"].tolist(), state["passed_over"].tolist(), strict=True))
        moved = state["origin"] + state["shift"]
        penalty, success, gradient = weighted_gradient(model, moved, loss, state)
        state["objective"] = state["shift"].flatten(1).square().sum(dim=1) + penalty
        record(state, moved, success, [state["objective"]])
        adam(state, gradient + 2 * state["shift"], 0.05)

    return Optimizer(["mean", "square"], step, difference)


def test_an_iteration_is_one_pass_forward_and_backward(model: nn.Module, images: Tensor) -> None:
    model, image = model.double(), images[1:2].double()
    loss = hinge(targeted=False)
    with torch.no_grad():
        label = model(image).argmax(dim=1)
    with counted_passes(model) as passes:
        ((result,),) = attack_by_penalty(
            model,
            image,
            label,
            loss,
            descent(model, loss, []),
            generator=SampleGenerator(0, [0]),
            target=None,
            kappas=[0.0],
            rules=1,
            search_steps=4,
            iterations=30,
        )
    assert result.success.all()
    assert passes.backward == result.iterations.item() + 1  # one for the first constant
    assert passes.forward == passes.backward + 1  # once it asks which class it is


@pytest.mark.parametrize("target", [None, "next", "random"])
def test_targeted_runs_pass_over_the_target_only(
    target: str | None, varied: tuple[nn.Module, Tensor], images: Tensor
) -> None:
    """That is no rival anyway, see `hinge`; without a target the class reached is another one."""
    model, labels = varied
    seen: list[tuple[int, int]] = []
    loss = hinge(targeted=target is not None)
    ((result,),) = attack_by_penalty(
        model,
        images,
        labels,
        loss,
        descent(model, loss, seen),
        generator=SampleGenerator(7, range(len(images))),
        target=target,
        kappas=[0.0],
        rules=1,
        search_steps=3,
        iterations=20,
    )
    assert result.success.float().mean() > 0.9
    others = [(goal, passed_over) for goal, passed_over in seen if goal != passed_over]
    if target is None:
        assert len(set(others)) > 5, "the test needs several classes"
        assert 20 * len(images) // 2 < len(others) <= 20 * len(images), "one run per image"
    else:
        assert not others


@pytest.fixture
def varied(images: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a model to which the images are of four classes, and these."""
    model = make_model(seed=5)
    with torch.no_grad():
        return model, model(images).argmax(dim=1)


def two_rivals() -> tuple[nn.Module, Tensor, Tensor, tuple[float, float]]:
    """Return a linear model of three classes, a grey image, its class, the distances of the others.

    Class 1 has the larger logit at the image and is further away; the directions are orthogonal.
    """
    linear = nn.Linear(4, 3).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[0, 0, 0, 0], [0, 5, 0, 0], [0, 0, -20, 0]]))
        linear.bias.copy_(torch.tensor([0, -2 - 5 * 0.5, -4 + 20 * 0.5]))
        for parameter in linear.parameters():
            parameter *= 20  # steep, for OPT
    image = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), linear).eval()
    return model, image, torch.tensor([0]), (2 / 5, 4 / 20)


def class_of(model: nn.Module, image: Tensor) -> int:
    with torch.no_grad():
        return int(model(image).argmax())


def inverse_tanh(images: Tensor) -> Tensor:
    return torch.atanh(0.99 * (2 * images - 1))


@pytest.mark.parametrize(
    ("attack", "looks", "beta", "variable"),
    [
        (partial(cw_l2, learning_rate=0.02), 1, 0.0, inverse_tanh),
        pytest.param(
            *(partial(opt, target=None, learning_rate=0.02), 1, 0.0, Tensor.clone),
            marks=pytest.mark.long,  # of the kind of the first
        ),
        (partial(ead, beta=0.003, learning_rate=0.02), 2, 0.003, None),
    ],
    ids=["cw_l2", "opt", "ead"],
)
def test_last_runs_of_the_attacks_start_at_the_image_and_at_the_best(
    attack: partial[AttackResult],
    looks: int,
    beta: float,
    variable: Callable[[Tensor], Tensor] | None,
    varied: tuple[nn.Module, Tensor],
    images: Tensor,
) -> None:
    """As seen by the model: 40 iterations a run are too few to stall, so the last are known."""
    several, labels = varied[0].double(), varied[1]
    cases = [(several, images[row : row + 1].double(), labels[row : row + 1]) for row in range(6)]
    cases.append(two_rivals()[:3])
    improved = 0
    for model, image, label in cases:
        with shown_to(model) as shown:
            result = run(partial(attack, search_steps=4, iterations=40), model, image, label)
        length = 40 * looks
        search, looked = shown[: -2 * length - 1], shown[-2 * length - 1]
        other, last = shown[-2 * length : -length], shown[-length:]
        assert len(search) == 1 + looks * (int(result.iterations) - 80)

        def distance(point: Tensor, image: Tensor = image) -> float:
            change = point - image
            return (change.square().sum() + beta * change.abs().sum()).item()

        # Of two looks per iteration the first is ahead; only the second counts.
        successes = successes_of(model, search[looks::looks], int(label))
        nearest = min(successes, key=distance)
        assert torch.equal(looked, nearest)
        torch.testing.assert_close(other[0], image, rtol=0, atol=1e-12)
        # The loss of OPT passes over a class, but a success is one in any class.
        passed_over = None if attack.func is opt else class_of(model, looked)
        successes += successes_of(model, other[looks - 1 :: looks], int(label), passed_over)
        best = min(successes, key=distance)
        torch.testing.assert_close(last[0], best, rtol=0, atol=1e-12)
        improved += best is not nearest
        if variable is not None:  # the first step of Adam has no memory: it is of one length
            for before, after in (other[:2], last[:2]):
                step = (variable(after) - variable(before)).abs()[(after > 0) & (after < 1)]
                assert step.amax().item() == pytest.approx(0.02, rel=1e-4)
    assert improved > 0, "the test needs images at which the other class is nearer"


def successes_of(
    model: nn.Module, points: list[Tensor], label: int, passed_over: int | None = None
) -> list[Tensor]:
    """Return the images for which a class that is not passed over is ahead of the label."""
    found = []
    for point in points:
        with torch.no_grad():
            logits = model(point)
        rivals = [i for i in range(logits.shape[1]) if i not in (label, passed_over)]
        if logits[0, rivals].max() - logits[0, label] >= rounding(logits):
            found.append(point)
    return found


@pytest.mark.parametrize(
    "attack",
    [cw_l2, partial(opt, target=None), partial(ead, beta=1e-4)],
    ids=["cw_l2", "opt", "ead"],
)
def test_other_class_is_tried_since_the_search_may_end_in_the_farther_one(
    attack: Callable[..., AttackResult],
) -> None:
    model, image, label, (far, near) = two_rivals()
    with shown_to(model) as shown:
        result = run(partial(attack, iterations=200), model, image, label)
    classes = [class_of(model, point) for point in shown]
    search = shown[: classes.index(2)]
    nearest = min((point - image).norm().item() for point in successes_of(model, search, 0))
    assert far * (1 - 1e-9) <= nearest <= far * 1.05
    assert class_of(model, result.adversarial) == 2
    assert near * (1 - 1e-9) <= norms(result, image).item() <= near * 1.02
