import numpy as np
import pytest
import torch
from scipy import optimize

from advdetect.attacks.gradient import Norm
from advdetect.attacks.hyperplane import step_to_hyperplane

COUNT, PIXELS = 12, 8
RANDOM = np.random.default_rng(0)
POINTS = np.clip(RANDOM.uniform(-0.3, 1.3, (COUNT, PIXELS)), 0, 1)
NORMALS = RANDOM.normal(size=(COUNT, PIXELS)) * (RANDOM.uniform(size=(COUNT, PIXELS)) < 0.8)
#: Shares of what the box allows, up to all of it.
SHARES = np.array([0, 0.02, 0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])


def gaps() -> np.ndarray:
    """Return what the box allows, times the shares, of every second in the other direction."""
    signs = np.where(np.arange(COUNT) % 2, -1, 1)
    ways = NORMALS * signs[:, None]
    return signs * SHARES * (ways * np.where(ways > 0, 1 - POINTS, -POINTS)).sum(axis=1)


def solve(points: np.ndarray, normals: np.ndarray, gap: np.ndarray, norm: Norm) -> np.ndarray:
    shape = (-1, 2, 2, 2)
    arrays = (torch.from_numpy(values) for values in (points, normals, gap))
    x, w, c = arrays
    return step_to_hyperplane(x.view(shape), w.view(shape), c, norm).flatten(1).numpy()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_is_the_shortest_step_that_an_optimiser_finds(norm: Norm) -> None:
    steps, gap = solve(POINTS, NORMALS, gaps(), norm), gaps()
    np.testing.assert_allclose((NORMALS * steps).sum(axis=1), gap, rtol=0, atol=1e-12)
    assert (POINTS + steps).min() >= 0
    assert (POINTS + steps).max() <= 1
    for point, normal, c, step in zip(POINTS, NORMALS, gap, steps, strict=True):
        bounds = list(zip(-point, 1 - point, strict=True))
        if norm == "linf":  # a linear program in the step and its largest pixel
            square = np.eye(PIXELS)
            sides = np.concatenate([square, -square])
            found = optimize.linprog(
                np.append(np.zeros(PIXELS), 1),
                A_ub=np.column_stack([sides, -np.ones(2 * PIXELS)]),
                b_ub=np.zeros(2 * PIXELS),
                A_eq=np.append(normal, 0)[None],
                b_eq=[c],
                bounds=[*bounds, (0, None)],
            )
            assert np.abs(step).max() == pytest.approx(found.fun, abs=1e-9)
        else:
            found = optimize.minimize(
                lambda step: (step @ step, 2 * step),
                step,
                jac=True,
                method="SLSQP",
                bounds=bounds,
                constraints={"type": "eq", "fun": lambda s, w=normal, c=c: w @ s - c},
                options={"ftol": 1e-15},
            )
            np.testing.assert_allclose(step, found.x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_out_of_reach_all_pixels_go_to_the_edge(norm: Norm) -> None:
    steps = solve(POINTS, NORMALS, np.full(COUNT, 1e3), norm)
    edge = np.where(NORMALS > 0, 1.0, 0.0)
    np.testing.assert_array_equal((POINTS + steps)[NORMALS != 0], edge[NORMALS != 0])
    assert (steps[NORMALS == 0] == 0).all()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_without_a_direction_there_is_no_step(norm: Norm) -> None:
    assert not solve(POINTS, np.zeros_like(NORMALS), gaps(), norm).any()


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_scale_of_the_gradient_does_not_matter(norm: Norm) -> None:
    """In float64 the squares of 1e-200 are zero."""
    small = solve(POINTS, NORMALS * 1e-200, gaps() * 1e-200, norm)
    np.testing.assert_allclose(small, solve(POINTS, NORMALS, gaps(), norm), rtol=0, atol=1e-12)
