"""Products with AᵀA and AAᵀ for the factors A of input Fisher matrices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.fisher.checks import check_finite_gradient
from advdetect.fisher.factors import NOT_TWICE, Factor

#: Agreement asked of products with A and with Aᵀ; float32 gives 1e-5, a missing part anything.
_AGREEMENT = 1e-3


@dataclass(frozen=True)
class GramOperator:
    """AᵀA, which is G but for its scale, or AAᵀ, which has the same eigenvalues.

    Attributes:
        factor: A.
        in_classes: Whether it is AAᵀ.
    """

    factor: Factor
    in_classes: bool

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the products with (N, K) float64 vectors."""
        if self.in_classes:
            return self.factor.forward(self.factor.backward(vectors))
        return self.factor.backward(self.factor.forward(vectors))

    @property
    def rank(self) -> int:
        """The largest rank that a matrix can have."""
        return self.factor.rank

    @property
    def log_scale(self) -> Tensor:
        """(N,) float64, the logarithm of what the matrices are divided by."""
        return self.factor.log_scale

    def checked(self, vectors: Tensor) -> Tensor:
        """Return the products AAᵀw with (N, R) vectors w, as `checked_product` does."""
        return checked_product(self.factor, vectors)

    def projected(self, vectors: Tensor) -> Tensor:
        """Return W AAᵀ Wᵀ, (N, k, k) float64, for (N, k, R) float64 rows W.

        By k gradients, each good to its own last digit.
        """
        rows = torch.stack([self.factor.backward(vector) for vector in vectors.unbind(1)], dim=1)
        return rows @ rows.mT

    def __len__(self) -> int:
        return len(self.factor.log_scale)

    def select(self, lanes: Tensor) -> "GramOperator":
        """Return the matrices of some images, for their (n,) int64 positions."""
        return GramOperator(self.factor.select(lanes), self.in_classes)


def checked_product(factor: Factor, w: Tensor) -> Tensor:
    """Return AAᵀw, and check w·A(Aᵀw) = ‖Aᵀw‖².

    Autograd leaves out silently what it cannot differentiate twice.

    Args:
        factor: A.
        w: (N, R).

    Returns:
        (N, R) float64.

    Raises:
        AdvdetectError: A gradient is not finite, or the two sides differ.
    """
    w = w.to(torch.float64)
    v = factor.backward(w)
    check_finite_gradient(v)
    t = factor.forward(v)
    difference = ((w * t).sum(dim=1) - v.square().sum(dim=1)).abs()
    size = torch.linalg.vector_norm(w, dim=1) * torch.linalg.vector_norm(t, dim=1)
    if (difference > _AGREEMENT * size).any():
        raise AdvdetectError(NOT_TWICE)
    return t
