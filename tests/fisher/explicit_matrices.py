"""The operator of the eigensolvers, of matrices that are known."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Explicit:
    """N symmetric matrices, (N, D, D), as the operator that eigensolvers ask for products."""

    matrices: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        return (self.matrices @ vectors[:, :, None]).squeeze(2)

    def __len__(self) -> int:
        return len(self.matrices)

    def select(self, lanes: Tensor) -> "Explicit":
        return Explicit(self.matrices[lanes])
