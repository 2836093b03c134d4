import math

import pytest
import torch
from explicit_matrices import Explicit
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.fisher.eigensolvers import lanczos, power_iteration

each_solver = pytest.mark.parametrize("solve", [lanczos, power_iteration])


def with_eigenvalues(*spectra: list[float]) -> tuple[Explicit, Tensor]:
    """Return matrices of given eigenvalues, the first the largest, and their top eigenvectors."""
    size = len(spectra[0])
    generator = torch.Generator().manual_seed(2)
    basis = torch.randn(len(spectra), size, size, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(basis).Q
    values = torch.tensor(spectra, dtype=torch.float64)
    return Explicit(basis @ (values[:, :, None] * basis.mT)), basis[:, :, 0]


def random_start(count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 5 * torch.randn(count, size, generator=generator, dtype=torch.float64)


@each_solver
def test_each_image_converges_on_its_own(solve) -> None:
    tail = [0.2 * 0.9**k for k in range(38)]
    large = [1e9, 9e8, *(1e9 * value for value in tail)]
    operator, vectors = with_eigenvalues([1, 0.01, *tail], [3e-40, *[0] * 39], large)
    expected = torch.tensor([1, 3e-40, 1e9], dtype=torch.float64)
    start = random_start(3, 40)
    found = solve(operator, start, iterations=300, tolerance=1e-9)
    torch.testing.assert_close(found.value, expected, rtol=1e-9, atol=0)
    cosine = (found.vector * vectors).sum(dim=1).abs()
    torch.testing.assert_close(cosine, torch.ones(3).double(), rtol=0, atol=1e-12)
    assert found.products[1] < found.products[0] <= found.products[2]
    for row in range(3):
        one, rows = operator.select(torch.tensor([row])), slice(row, row + 1)
        alone = solve(one, start[rows], iterations=300, tolerance=1e-9)
        assert alone.products == found.products[row]
        torch.testing.assert_close(alone.vector[0], found.vector[row])


@each_solver
@pytest.mark.parametrize("tolerance", [1e-2, 1e-6])
def test_stops_at_the_tolerance(solve, tolerance: float) -> None:
    operator, _ = with_eigenvalues([1, 0.9, 0.8, *[0.5 * 0.9**k for k in range(47)]])
    found = solve(operator, random_start(1, 50), iterations=1000, tolerance=tolerance)
    residual = (operator(found.vector) - found.value * found.vector).norm()
    assert residual <= tolerance
    assert residual >= 1e-4 * tolerance
    assert found.products < 1000


@each_solver
@pytest.mark.parametrize("iterations", [1, 2, 6])
def test_takes_no_more_products_than_allowed(solve, iterations: int) -> None:
    operator, _ = with_eigenvalues([1 - 0.01 * k for k in range(50)])
    start = random_start(1, 50)
    found = solve(operator, start, iterations=iterations, tolerance=1e-12)
    assert found.products.tolist() == [iterations]
    if solve is power_iteration:
        expected = torch.linalg.matrix_power(operator.matrices, iterations) @ start[:, :, None]
        torch.testing.assert_close(found.vector, (expected / expected.norm()).squeeze(2))


@pytest.mark.parametrize("size", [3, 50])
def test_lanczos_survives_the_end_of_the_space(size: int) -> None:
    spectrum = [1, 0.9, *[0] * (size - 2)]
    operator, vectors = with_eigenvalues(*[spectrum] * 50)
    found = lanczos(operator, random_start(50, size), iterations=20, tolerance=1e-300)
    torch.testing.assert_close(found.value, torch.ones(50).double(), rtol=0, atol=1e-12)
    cosine = (found.vector * vectors).sum(dim=1).abs()
    torch.testing.assert_close(cosine, torch.ones(50).double(), rtol=0, atol=1e-12)


def test_lanczos_is_exact_after_rank_plus_one_products() -> None:
    operator, vectors = with_eigenvalues([1, 0.999, 0.998, 0.997, *[0] * 46])
    found = lanczos(operator, random_start(1, 50), iterations=5, tolerance=1e-12)
    assert (found.vector * vectors).sum().abs() == pytest.approx(1, abs=1e-9)


def test_lanczos_is_faster_than_power_iteration() -> None:
    operator, _ = with_eigenvalues([1, 0.95, *[0.9 * 0.95**k for k in range(58)]])
    products = [
        int(solve(operator, random_start(1, 60), iterations=1000, tolerance=1e-6).products)
        for solve in (lanczos, power_iteration)
    ]
    assert 3 * products[0] < products[1]


@each_solver
def test_zero_matrix_has_a_zero_vector(solve) -> None:
    operator = Explicit(torch.zeros(2, 7, 7, dtype=torch.float64))
    found = solve(operator, random_start(2, 7), iterations=7, tolerance=1e-3)
    assert not found.value.any()
    assert not found.vector.any()


@each_solver
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_products_that_are_not_finite_are_refused(solve, bad: float) -> None:
    operator = Explicit(torch.full((2, 7, 7), bad, dtype=torch.float64))
    with pytest.raises(AdvdetectError, match="not finite"):
        solve(operator, random_start(2, 7), iterations=7, tolerance=1e-3)
