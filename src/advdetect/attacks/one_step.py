"""A one-step attack as a direction, for the search along it (`least_perturbation`)."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class OneStep:
    """The directions of a one-step attack on N images: x' = clip(x + ε · direction).

    A function ``direction(model, images, labels, *, generator, **parameters) -> OneStep`` names an
    attack whose least perturbation can be searched for.

    Attributes:
        direction: (N, C, H, W), zero where there is none. Its length is the unit of ε: length one
            for an L2 radius, signs for an L∞ radius.
        signed: False where −direction does as well: at each ε the one of x ± ε · direction whose
            loss is larger is taken.
        target: (N,) int64 classes aimed at, or None; recorded in the attack's result.
    """

    direction: Tensor
    signed: bool = True
    target: Tensor | None = None
