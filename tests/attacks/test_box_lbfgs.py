from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import optimize
from torch import Tensor

from advdetect.attacks.box_lbfgs import Objective, advance, begin, restart
from advdetect.lanes import State, iterate

LANES, SIZE = 12, 30
# The tolerance of SciPy's own runs, which are the reference.
EXACT = {"maxcor": 10, "ftol": 1e-15, "gtol": 1e-11, "maxiter": 10_000, "maxfun": 10_000}


def minimize(
    objective: Objective,
    start: Tensor,
    *,
    tolerance: float = 1e-15,
    memory: int = 10,
    evaluations: int = 5000,
    **entries: Tensor,
) -> State:
    state = begin(start, memory) | entries
    state["count"] = torch.zeros(len(start), dtype=torch.int64)
    state["done"] = state["converged"]

    def step(state: State) -> State:
        state["count"] = state["count"] + ~state["converged"]
        state = advance(state, objective, tolerance)
        state["done"] = state["converged"] | (state["count"] >= evaluations)
        return state

    return iterate(state, step, keep=("point", "value", "count", "converged"), every=3)


def scipy_minimum(objective: Objective, start: Tensor, entries: State) -> list:
    """Minimise each lane's function by SciPy's L-BFGS-B, on its own."""

    def alone(row: int) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
        part = {name: value[row : row + 1] for name, value in entries.items()}

        def function(point: np.ndarray) -> tuple[float, np.ndarray]:
            found = objective(torch.from_numpy(point)[None], part)
            return found["value"].item(), found["gradient"][0].numpy()

        return function

    return [
        optimize.minimize(
            alone(row),
            start[row].numpy(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * start.shape[1],
            options=EXACT,
        )
        for row in range(len(start))
    ]


def quadratic(points: Tensor, state: State) -> State:
    shift = points - state["center"]
    gradient = (state["matrix"] @ shift[:, :, None]).squeeze(2)
    return {"value": (shift * gradient).sum(dim=1) / 2, "gradient": gradient}


def rosenbrock(points: Tensor, state: State) -> State:
    with torch.enable_grad():
        variable = points.detach().requires_grad_()
        u = 2.4 * variable + state["offset"]
        value = (100 * (u[:, 1:] - u[:, :-1] ** 2) ** 2 + (1 - u[:, :-1]) ** 2).sum(dim=1)
        (gradient,) = torch.autograd.grad(value.sum(), variable)
    return {"value": value.detach(), "gradient": gradient}


@pytest.fixture
def problem() -> State:
    """Convex quadratics of condition 1e4, most of whose centres are outside the box."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(LANES, SIZE, SIZE, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(basis).Q
    spectrum = torch.logspace(0, 4, SIZE, dtype=torch.float64)
    center = 2 * torch.rand(LANES, SIZE, dtype=torch.float64, generator=generator) - 0.5
    return {"matrix": (basis * spectrum) @ basis.mT, "center": center}


@pytest.fixture
def start() -> Tensor:
    return torch.full((LANES, SIZE), 0.5, dtype=torch.float64)


@pytest.mark.parametrize(
    "memory", [3, *(pytest.param(memory, marks=pytest.mark.long) for memory in (1, 10))]
)
def test_convex_quadratics_as_scipy(memory: int, problem: State, start: Tensor) -> None:
    end = minimize(quadratic, start, memory=memory, **problem)
    reference = scipy_minimum(quadratic, start, problem)
    expected = torch.from_numpy(np.stack([result.x for result in reference]))
    assert ((expected == 0) | (expected == 1)).any(dim=1).all(), "the test needs active bounds"
    torch.testing.assert_close(end["point"], expected, rtol=0, atol=1e-4)
    least = torch.tensor([result.fun for result in reference], dtype=torch.float64)
    assert (end["value"] <= least * (1 + 1e-8)).all()
    assert end["converged"].all()


@pytest.mark.long
def test_takes_no_more_evaluations_than_scipy(problem: State, start: Tensor) -> None:
    end = minimize(quadratic, start, **problem)
    reference = scipy_minimum(quadratic, start, problem)
    expected = np.mean([result.nfev for result in reference])
    assert end["count"].double().mean() <= 1.2 * expected


def test_rosenbrock_in_a_box_as_scipy() -> None:
    offset = torch.linspace(-2.2, 0.6, LANES, dtype=torch.float64)[:, None]
    start = torch.rand(
        LANES, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).clamp(0.1, 0.9)
    end = minimize(rosenbrock, start, offset=offset)
    reference = scipy_minimum(rosenbrock, start, {"offset": offset})
    least = torch.tensor([result.fun for result in reference], dtype=torch.float64)
    assert (least > 0.1).any()
    assert (least < 1e-8).any(), "the test needs minima at the bounds and inside"
    assert (end["value"] <= least * (1 + 1e-7) + 1e-9).all()


def test_separable_quadratic_has_its_minimum_at_the_clipped_centre(
    problem: State, start: Tensor
) -> None:
    matrix = torch.diag(torch.linspace(1, 50, SIZE, dtype=torch.float64)).repeat(LANES, 1, 1)
    end = minimize(quadratic, start, matrix=matrix, center=problem["center"])
    torch.testing.assert_close(end["point"], problem["center"].clamp(0, 1), rtol=0, atol=1e-6)


def test_lanes_do_not_depend_on_each_other(problem: State, start: Tensor) -> None:
    together = minimize(quadratic, start, tolerance=1e-6, **problem)
    assert len(together["count"].unique()) > 1
    for row in range(LANES):
        part = {name: value[row : row + 1] for name, value in problem.items()}
        alone = minimize(quadratic, start[row : row + 1], tolerance=1e-6, **part)
        torch.testing.assert_close(
            alone["point"], together["point"][row : row + 1], rtol=0, atol=1e-9
        )
        assert alone["count"].item() == together["count"][row].item()


def test_float32_comes_as_near_as_its_rounding_allows(problem: State, start: Tensor) -> None:
    single = {name: value.float() for name, value in problem.items()}
    end = minimize(quadratic, start.float(), tolerance=0, **single)
    least = torch.tensor([result.fun for result in scipy_minimum(quadratic, start, problem)])
    assert end["converged"].all()
    assert (end["value"] <= least * (1 + 1e-4)).all()


def test_values_fall_and_points_stay_in_the_box(problem: State, start: Tensor) -> None:
    state = begin(start, 5) | problem
    previous = state["value"]
    rejected = 0
    for _ in range(60):
        state = advance(state, quadratic, 1e-9)
        assert (state["value"] <= previous).all()
        assert torch.equal(state["value"] < previous, state["accepted"])
        assert state["point"].min() >= 0
        assert state["point"].max() <= 1
        rejected += int((~state["accepted"] & ~state["converged"]).sum())
        previous = state["value"]
    assert rejected > 0, "the test needs a line search"


def test_a_converged_lane_stays_though_it_could_go_on(problem: State, start: Tensor) -> None:
    state = begin(start, 5) | problem
    while not state["converged"].any():
        state = advance(state, quadratic, 1e-2)
    ended, before = state["converged"], state["point"]
    for _ in range(10):
        state = advance(state, quadratic, 1e-2)
    assert not ended.all()
    assert torch.equal(state["point"][ended], before[ended])
    assert (state["point"] != before)[~ended].any(dim=1).all()


def test_a_restarted_lane_finds_the_new_minimum(problem: State, start: Tensor) -> None:
    matrix = torch.eye(SIZE, dtype=torch.float64).repeat(LANES, 1, 1)
    state = begin(start, 5) | {"matrix": matrix, "center": problem["center"]}
    for _ in range(20):
        state = advance(state, quadratic, 1e-12)
    assert state["converged"].all()
    before = state["point"]
    state["center"] = 1 - state["center"]
    half = torch.arange(LANES) < LANES // 2
    restart(state, half, start)
    for _ in range(20):
        state = advance(state, quadratic, 1e-12)
    torch.testing.assert_close(state["point"][half], state["center"][half].clamp(0, 1))
    assert torch.equal(state["point"][~half], before[~half])


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_a_function_that_says_nothing_leaves_the_point(value: float, start: Tensor) -> None:
    def constant(points: Tensor, state: State) -> State:
        return {"value": points.sum(dim=1) * 0 + value, "gradient": points * 0 * value}

    end = minimize(constant, start)
    assert end["converged"].all()
    assert torch.equal(end["point"], start)


def test_a_wrong_history_is_dropped(problem: State, start: Tensor) -> None:
    """The remembered curvature is a thousand times too small: only the gradient helps."""
    matrix = torch.eye(SIZE, dtype=torch.float64).repeat(LANES, 1, 1)
    state = begin(start, 5) | {"matrix": matrix, "center": problem["center"]}
    generator = torch.Generator().manual_seed(2)
    state["steps"] = torch.randn(state["steps"].shape, generator=generator, dtype=torch.float64)
    state["changes"] = 1e-9 * state["steps"]
    for _ in range(200):
        state = advance(state, quadratic, 1e-12)
    assert state["converged"].all()
    torch.testing.assert_close(state["point"], problem["center"].clamp(0, 1), rtol=0, atol=1e-5)
