"""The largest eigenvalues of a matrix per image, from products with vectors only.

Each image converges on its own and then leaves the batch (`advdetect.lanes`).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from advdetect.fisher.checks import check_finite_gradient
from advdetect.lanes import State, iterate

#: Products between two looks at which images are done. When one is, the graph of those that are
#: left is recorded again, at about the price of a product.
_EVERY = 4


class Operator(Protocol):
    """N symmetric positive semi-definite (K, K) matrices, one per image."""

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the products with (N, K) float64 vectors."""

    def __len__(self) -> int:
        """Return N."""

    def select(self, lanes: Tensor) -> "Operator":
        """Return the matrices of some images, for their (n,) int64 positions."""


@dataclass(frozen=True)
class Eigenpair:
    """Largest eigenvalues of N matrices.

    Attributes:
        value: (N,) float64, at least 0.
        vector: (N, K) float64, of length one, or zero where the matrix is; its sign is arbitrary.
        products: (N,) int64 products with the matrix that were needed.
    """

    value: Tensor
    vector: Tensor
    products: Tensor


def power_iteration(
    operator: Operator, start: Tensor, *, iterations: int, tolerance: float
) -> Eigenpair:
    """Find the largest eigenvalues by v ← Gv/‖Gv‖ (Zhao et al. 2019, equation (7)).

    The error shrinks by λ₂/λ₁ in each iteration.

    Args:
        operator: The matrices G.
        start: (N, K) first vectors, of any length.
        iterations: Largest number of products, at least 1.
        tolerance: An image is done when ‖Gv − λv‖ ≤ tolerance · λ, λ = v·Gv.

    Returns:
        The eigenpairs, converged or not; λ belongs to the last v but one.

    Raises:
        AdvdetectError: A product is not finite.
    """
    products = _Counted(operator)

    def step(state: State) -> State:
        if products.count == iterations:
            return state
        vector = state["vector"]
        moved = products(state["lane"], vector)
        value = (vector * moved).sum(dim=1)
        residual = torch.linalg.vector_norm(moved - value[:, None] * vector, dim=1)
        return state | {"vector": unit(moved), "value": value, "residual": residual}

    def check(state: State) -> State:
        check_finite_gradient(state["residual"])
        return products.mark_done(state, tolerance, iterations)

    state = _first_state(unit(start))
    return Eigenpair(**iterate(state, step, keep=_KEPT, every=_EVERY, check=check))


def lanczos(operator: Operator, start: Tensor, *, iterations: int, tolerance: float) -> Eigenpair:
    """Find the largest eigenvalues by the Lanczos method, see `leading_eigenpairs`."""
    found = leading_eigenpairs(operator, start, 1, iterations=iterations, tolerance=tolerance)
    return Eigenpair(found.value[:, 0], found.vector[:, 0], found.products)


def leading_eigenpairs(
    operator: Operator, start: Tensor, count: int, *, iterations: int, tolerance: float
) -> Eigenpair:
    """Find the largest eigenvalues by the Lanczos method with full reorthogonalisation.

    The best approximation from span{v, Gv, G²v, …}: exact, but for rounding, after rank(G) + 1
    products, and usually long before. All basis vectors are kept: (N, iterations + 1, K) float64.

    Each value is relatively as near to an eigenvalue as the tolerance says, but one may be missing:
    that in whose direction the first vector hardly points appears some products after the others.
    With a small tolerance it does so before these are done.

    Args:
        operator: The matrices G.
        start: (N, K) first vectors, of any length.
        count: How many eigenvalues of each matrix, k, in [1, iterations].
        iterations: Largest number of products, at least 1.
        tolerance: An image is done when ‖Gv − λv‖ ≤ tolerance · λ for all of them.

    Returns:
        The eigenpairs, converged or not, with (N, k) values, descending, and (N, k, K) vectors.
        An eigenvalue that the matrix has more than once is found once.

    Raises:
        AdvdetectError: A product is not finite.
    """
    products = _Counted(operator)

    def step(state: State) -> State:
        number = products.count
        if number == iterations:
            return state
        basis = state["basis"][:, : number + 1]
        moved = products(state["lane"], basis[:, -1])
        size = torch.linalg.vector_norm(moved, dim=1)
        for _ in range(2):  # once would leave rounding errors of the size of the overlap
            overlap = (basis @ moved[:, :, None]).squeeze(2)
            moved = moved - (overlap[:, None, :] @ basis).squeeze(1)
            state["diagonal"][:, number] += overlap[:, -1]
        rest = torch.linalg.vector_norm(moved, dim=1)
        # The space is exhausted where only rounding is left: go on with zeros.
        rest = torch.where(rest > 10 * torch.finfo(rest.dtype).eps * size, rest, 0)
        state["off_diagonal"][:, number] = rest
        state["basis"][:, number + 1] = moved / torch.where(rest > 0, rest, torch.inf)[:, None]
        return state

    def check(state: State) -> State:
        number = products.count
        diagonal, off = state["diagonal"][:, :number], state["off_diagonal"][:, :number]
        check_finite_gradient(diagonal + off)
        if number < count:
            return state
        inner = off[:, :-1]
        projected = diagonal.diag_embed() + inner.diag_embed(1) + inner.diag_embed(-1)
        values, vectors = torch.linalg.eigh(projected)
        value, weights = values[:, -count:].flip(1).clamp_min(0), vectors[:, :, -count:].flip(2)
        vector = weights.mT @ state["basis"][:, :number]
        state |= {
            "vector": torch.where(value[:, :, None] > 0, unit(vector), 0),
            "value": value,
            "residual": (off[:, -1:] * weights[:, -1]).abs(),
        }
        return products.mark_done(state, tolerance, iterations)

    first = unit(start)
    basis = first.new_zeros(len(first), iterations + 1, first.shape[1])
    basis[:, 0] = first
    nothing = first.new_zeros(len(first), iterations)
    state = _first_state(first[:, None].expand(-1, count, -1))
    state |= {"basis": basis, "diagonal": nothing, "off_diagonal": nothing.clone()}
    return Eigenpair(**iterate(state, step, keep=_KEPT, every=_EVERY, check=check))


_KEPT = ("value", "vector", "products")


class _Counted:
    """Products with the matrices of the images that are left, counted."""

    def __init__(self, operator: Operator) -> None:
        self._all = self._current = operator
        self.count = 0

    def __call__(self, lanes: Tensor, vectors: Tensor) -> Tensor:
        if len(lanes) < len(self._current):  # images only ever leave
            self._current = self._all.select(lanes)
        self.count += 1
        return self._current(vectors)

    def mark_done(self, state: State, tolerance: float, iterations: int) -> State:
        converged = state["residual"] <= tolerance * state["value"]
        converged = converged.view(len(converged), -1).all(dim=1)
        done = converged | (self.count == iterations)
        return state | {"done": done, "products": torch.full_like(state["lane"], self.count)}


def _first_state(vector: Tensor) -> State:
    nothing = vector.new_zeros(vector.shape[:-1])
    lane = torch.arange(len(vector), device=vector.device)
    return {
        "lane": lane,
        "products": torch.zeros_like(lane),
        "vector": vector,
        "value": nothing,
        "residual": nothing,
        "done": torch.zeros_like(lane, dtype=torch.bool),
    }


def unit(vectors: Tensor) -> Tensor:
    """Divide (…, K) vectors by their lengths; zero stays zero."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1)
