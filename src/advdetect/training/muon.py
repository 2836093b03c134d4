"""Muon, which steps along the orthogonal factor of the momentum of each matrix of weights.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon); scaled as by Liu et al. 2025
(arXiv:2502.16982), so that learning rates are those of AdamW. PyTorch's own has no convolutions
and multiplies in 16 bits, which many processors emulate.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

# Of Jordan's iteration, which is steep at zero and leaves singular values near to 1, not at it.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Steps of 0.2 √max(m, n) times the learning rate along the orthogonal factor of an m×n matrix.

    The matrix is g + μB, with the gradient g of the weights and B ← μB + g (Nesterov momentum), of
    a convolution with a row for each output channel. Weights that are no matrix, such as biases and
    those of batch norm, take AdamW's steps without decay.

    Args:
        parameters: The weights.
        lr: Learning rate of all of them.
        momentum: μ, in [0, 1).
        weight_decay: Factor of the matrices in each step, times the learning rate.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        parameters = list(parameters)
        matrices = [weights for weights in parameters if weights.ndim > 1]
        others = [weights for weights in parameters if weights.ndim <= 1]
        groups = [{"params": part, "matrices": part is matrices} for part in (matrices, others)]
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], settings)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Take a step by the gradients as they are."""
        for group in self.param_groups:
            take = self._orthogonal if group["matrices"] else self._plain
            for weights in group["params"]:
                if weights.grad is not None:
                    take(weights, weights.grad, group)

    def _orthogonal(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weights]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        matrix = gradient.add(momentum, alpha=group["momentum"]).flatten(1)
        step = orthogonal_factor(matrix) * (0.2 * max(matrix.shape) ** 0.5)
        weights.mul_(1 - group["lr"] * group["weight_decay"])
        weights.sub_(step.reshape(weights.shape), alpha=group["lr"])

    def _plain(self, weights: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weights]
        if not state:
            state["steps"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(weights), torch.zeros_like(weights)
        adamw(
            *([weights], [gradient], [state["mean"]], [state["square"]], [], [state["steps"]]),
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=group["lr"],
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


def orthogonal_factor(matrix: Tensor) -> Tensor:
    """Return about UVᵀ of an m×n matrix UΣVᵀ, by a quintic Newton–Schulz iteration.

    Its singular values are in [0.68, 1.21], unless those of the matrix are below 0.003 of its norm;
    of a zero matrix it is zero.
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.mT
    wide = wide / torch.linalg.matrix_norm(wide).clamp_min(torch.finfo(wide.dtype).tiny)
    first, third, fifth = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        square = wide @ wide.mT
        wide = torch.addmm(wide, third * square + fifth * square @ square, wide, beta=first)
    return wide if len(matrix) <= matrix.shape[1] else wide.mT
