"""Eigenvalues of LᵀKL for a Gram matrix K, where they span more decades than a product keeps.

With R a root of K, they are the squared singular values of R L. Those have a relative error of
ε σ₁/σ, where the eigenvalues of LᵀKL would have ε (σ₁/σ)²: this is what keeps the small ones when
the probabilities in L span many decades.
"""

import torch
from torch import Tensor

from advdetect.fisher.categorical import SMALLEST_SQUARE, LogOdds, log10_of_scaled

_ROUNDING = torch.finfo(torch.float64).eps


def gram_root(gram: Tensor, resolution: float) -> Tensor:
    """Return R with RᵀR = K, raised to what arithmetic resolves.

    Args:
        gram: (N, R, R) float64 K, finite.
        resolution: Smallest eigenvalue of K that the gradients behind it resolve, as a share of
            the largest; the rounding of float64 itself is a limit, too.

    Returns:
        (N, R, R) float64.
    """
    values, vectors = torch.linalg.eigh(gram)
    resolution = max(resolution, values.shape[1] * _ROUNDING)
    floor = (values[:, -1:] * resolution).clamp_min(SMALLEST_SQUARE)
    return values.clamp_min(floor).sqrt()[:, :, None] * vectors.mT


def log10_eigenvalues(singular: Tensor, odds: LogOdds) -> Tensor:
    """Return the (N, R) log10 eigenvalues of (N, R) descending singular values of R L."""
    floor = singular[:, :1] * singular.shape[1] * _ROUNDING
    return log10_of_scaled(singular.clamp_min(floor).square(), odds.log_scale)
