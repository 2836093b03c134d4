"""Softmax algebra for Fisher matrices, in float64 and without cancellation.

The Fisher matrix of a classifier is F = Bᵀ(diag(p) − ppᵀ)B with B the Jacobian of the logits. Near
p = one-hot that form subtracts almost equal numbers. Here everything is expressed in the log-odds
η_c = z_c − z_y of the C − 1 other classes against the predicted class y, with their probabilities
q (p without y), for which the same matrix is F = Aᵀ(diag(q) − qqᵀ)A, A the Jacobian of η.

q spans hundreds of decades, so it is kept as log q, and its largest entry is divided out before
anything is squared or decomposed and put back as a logarithm.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from advdetect.errors import AdvdetectError

#: Squares of gradients below this, the square of the smallest normal float32 (2⁻¹²⁶), count as it:
#: float32 arithmetic cannot tell such a gradient from zero, and a logarithm needs a number.
SMALLEST_SQUARE = torch.finfo(torch.float32).tiny ** 2


@dataclass(frozen=True)
class LogOdds:
    """Log-odds of R = C − 1 outcomes against the predicted class, for N images.

    Attributes:
        predicted: (N,) int64, the class y.
        seeds: (R, N, C) ∂η_r/∂z of each image, in the dtype of the logits; of unit size, so that
            a backward pass does not underflow however small the probabilities are.
        log_q: (N, R) float64 log-probability of each outcome.
        log_p: (N,) float64 log-probability of the predicted class.
    """

    predicted: Tensor
    seeds: Tensor
    log_q: Tensor
    log_p: Tensor

    @property
    def log_scale(self) -> Tensor:
        """(N,) float64, the logarithm of the largest of q, that `scaled_q` is divided by."""
        return self.log_q.amax(dim=1)

    @property
    def scaled_q(self) -> Tensor:
        """(N, R) float64 in [0, 1]: q divided by its largest entry."""
        return (self.log_q - self.log_scale[:, None]).exp()

    def scaled_root(self) -> Tensor:
        """Return L divided by √max(q), where L Lᵀ = diag(q) − qqᵀ.

        L = diag(s)(I − ssᵀ/(1 + √p_y)) with s = √q has no cancellation.

        Returns:
            (N, R, R) float64.
        """
        s, factor = self._root_parts()
        identity = torch.eye(s.shape[1], dtype=s.dtype, device=s.device)
        return s[:, :, None] * (identity - factor[:, :, None] * s[:, :, None] * s[:, None, :])

    def scaled_root_product(self, vectors: Tensor) -> Tensor:
        """Return `scaled_root` times (N, R) vectors, without forming it."""
        s, factor = self._root_parts()
        return s * (vectors - factor * s * (s * vectors).sum(dim=1, keepdim=True))

    def scaled_root_transposed_product(self, vectors: Tensor) -> Tensor:
        """Return the transpose of `scaled_root` times (N, R) vectors, without forming it."""
        s, factor = self._root_parts()
        scaled = s * vectors
        return scaled - factor * s * (s * scaled).sum(dim=1, keepdim=True)

    def _root_parts(self) -> tuple[Tensor, Tensor]:
        """Return (N, R) s and (N, 1) f of L = diag(s)(I − f ssᵀ), all divided by √max(q)."""
        s = (0.5 * (self.log_q - self.log_scale[:, None])).exp()
        factor = self.log_scale.exp() / (1 + (0.5 * self.log_p).exp())
        return s, factor[:, None]


def log_odds(logits: Tensor, predicted: Tensor | None = None) -> LogOdds:
    """Return the log-odds of every other class against the predicted one.

    Args:
        logits: (N, C) finite, C at least 2.
        predicted: (N,) int64 class y of each image; by default the one with the largest logit.

    Returns:
        The log-odds; outcome r is the r-th class in order, the predicted one left out.

    Raises:
        AdvdetectError: The logits have the wrong shape or are not finite.
    """
    _check_logits(logits)
    count = logits.shape[1]
    z = logits.detach().to(torch.float64)
    predicted = z.argmax(dim=1) if predicted is None else predicted
    others = other_classes(predicted, count)
    # Not positive with the largest logit as the predicted one, so that exp cannot overflow.
    eta = z.gather(1, others) - z.gather(1, predicted[:, None])
    log_p = -eta.exp().sum(dim=1).log1p()
    seeds = functional.one_hot(others.T, count) - functional.one_hot(predicted, count)
    return LogOdds(predicted, seeds.to(logits.dtype), log_q=eta + log_p[:, None], log_p=log_p)


def other_classes(predicted: Tensor, count: int) -> Tensor:
    """Return the classes but the predicted one, in order: (N, count − 1) int64 for (N,) classes."""
    others = torch.arange(count - 1, device=predicted.device).expand(len(predicted), -1)
    return others + (others >= predicted[:, None])


def two_class_log_odds(logits: Tensor, predicted: Tensor | None = None) -> LogOdds:
    """Return the log-odds of "any other class" against the predicted one: the reduction to (7).

    Martin & Elster (2019), equation (7): p is replaced by (p_ŷ, 1 − p_ŷ). The single outcome has
    η = logsumexp_{c≠ŷ} z_c − z_ŷ.

    Args:
        logits: (N, C) finite, C at least 2.
        predicted: (N,) int64 class y of each image; by default the one with the largest logit.

    Returns:
        The log-odds of the one outcome.

    Raises:
        AdvdetectError: The logits have the wrong shape or are not finite.
    """
    full = log_odds(logits, predicted)
    log_r = full.log_q.logsumexp(dim=1, keepdim=True)
    share = (full.log_q - log_r).exp()  # of each other class in 1 − p_ŷ
    seed = torch.einsum("nr,rnc->nc", share, full.seeds.to(share.dtype))
    return LogOdds(full.predicted, seed[None].to(logits.dtype), log_q=log_r, log_p=full.log_p)


def log10_of_scaled(value: Tensor, log_scale: Tensor, power: int = 1) -> Tensor:
    """Return log10(value · exp(log_scale)), where value is a product of squares of gradients.

    Args:
        value: (N, …) float64, at least 0, made of ``power`` squared gradients; values below
            `SMALLEST_SQUARE` to that power are raised to it, so that the result is finite.
        log_scale: (N,) float64 natural logarithm of the factor to put back.
        power: Number of squared gradients multiplied in value.

    Returns:
        (N, …) float64, finite.
    """
    factor = log_scale.view(-1, *[1] * (value.ndim - 1)) / math.log(10)
    return value.clamp_min(SMALLEST_SQUARE**power).log10() + factor


def _check_logits(logits: Tensor) -> None:
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise AdvdetectError(
            f"The model returned a tensor of shape {tuple(logits.shape)}; Fisher information "
            "needs logits of shape (images, classes) with at least 2 classes."
        )
    if not torch.isfinite(logits).all():
        raise AdvdetectError(
            "The model returned logits that are not finite, so that there is no Fisher "
            "information: check the model's weights and the images."
        )
