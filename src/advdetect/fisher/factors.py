"""Factors A of input Fisher matrices G = e^s AᵀA (Zhao et al. 2019), for products with vectors.

G(x) = Σ_c p_c g_c g_cᵀ, g_c = ∇_x log p_c, is D×D, and for large images out of reach. A product
with G needs a product with A, that is along the image, and one with Aᵀ, back to it. Here A is
either LᵀJ, of which only products are computed (J the Jacobian of the log-odds, L the root of
`advdetect.fisher.categorical`), or the stored gradients of classes drawn from p.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from advdetect.errors import AdvdetectError
from advdetect.fisher.alias import draw_classes
from advdetect.fisher.categorical import LogOdds, log_odds, other_classes
from advdetect.fisher.checks import check_eval_mode
from advdetect.fisher.convolution import FastInputGradient
from advdetect.fisher.input import differentiable_logits, input_gradients
from advdetect.fisher.tangents import FastTangents
from advdetect.randomness import SampleGenerator

#: What is said of a model that a factor by products cannot treat.
NOT_TWICE = (
    "The model has an operation whose gradient cannot be differentiated again: find the "
    "eigenvector by the method exact, alias_lanczos or alias_power."
)


class Factor(Protocol):
    """Factors A, (R, D) each, of N matrices e^s AᵀA."""

    @property
    def log_scale(self) -> Tensor:
        """(N,) float64, s."""

    @property
    def rank(self) -> int:
        """R, the largest rank that a matrix can have."""

    def forward(self, vectors: Tensor) -> Tensor:
        """Return A v, (N, R) float64, for (N, D) float64 vectors v."""

    def backward(self, vectors: Tensor) -> Tensor:
        """Return Aᵀ w, (N, D) float64, for (N, R) float64 vectors w."""

    def select(self, lanes: Tensor) -> "Factor":
        """Return the factors of some images, for their (n,) int64 positions."""


class JacobianFactor:
    """A = LᵀJ, matrix-free: the exact matrix, at the price of two passes for a product with G.

    One forward pass and one backward pass are recorded and then used for all products: Jᵀw is a
    backward pass, and Jv the derivative of Jᵀw by w.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode; R = C − 1.
        images: (N, C, H, W) float in [0, 1].

    Raises:
        AdvdetectError: The model is in training mode, or its logits are not finite.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        check_eval_mode(model)
        self._model, self._images = model, images.detach()
        # Attention by plain products, since fused kernels cannot be differentiated twice.
        with torch.enable_grad(), FastInputGradient(), FastTangents(), sdpa_kernel(SDPBackend.MATH):
            self._variable = images.detach().requires_grad_()
            logits = model(self._variable.clone())  # a clone: a first layer may work in place
            self._odds = log_odds(logits)
            predicted = self._odds.predicted
            others = logits.gather(1, other_classes(predicted, logits.shape[1]))
            # The zero keeps logits that do not depend on the images in the graph.
            zero = 0 * self._variable.flatten(1).sum(dim=1, keepdim=True)
            self._eta = others - logits.gather(1, predicted[:, None]) + zero
            self._cotangent = torch.zeros_like(self._eta, requires_grad=True)
            (self._gradient,) = torch.autograd.grad(
                self._eta, self._variable, self._cotangent, create_graph=True
            )
        self.log_scale = self._odds.log_scale
        self.rank = self._eta.shape[1]

    def forward(self, vectors: Tensor) -> Tensor:
        """Return A v, (N, R) float64, for (N, D) float64 vectors v.

        Raises:
            AdvdetectError: The model has an operation that cannot be differentiated twice.
        """

        def along(tangent: Tensor) -> Tensor:
            try:
                (moved,) = torch.autograd.grad(
                    self._gradient,
                    self._cotangent,
                    tangent.view_as(self._images),
                    retain_graph=True,
                )
            except RuntimeError as error:
                if "not implemented" in str(error):
                    raise AdvdetectError(NOT_TWICE) from error
                raise
            return moved

        return self._odds.scaled_root_transposed_product(rescaled(along, vectors, self._eta.dtype))

    def backward(self, vectors: Tensor) -> Tensor:
        """Return Aᵀ w, (N, D) float64, for (N, R) float64 vectors w."""

        def back(seed: Tensor) -> Tensor:
            (gradient,) = torch.autograd.grad(self._eta, self._variable, seed, retain_graph=True)
            return gradient.flatten(1)

        return rescaled(back, self._odds.scaled_root_product(vectors), self._eta.dtype)

    def select(self, lanes: Tensor) -> "JacobianFactor":
        """Return the factors of some images, which are passed through the model again."""
        return JacobianFactor(self._model, self._images[lanes])


@dataclass(frozen=True)
class StoredFactor:
    """A = diag(w) B with stored rows B.

    Attributes:
        rows: (N, R, D) in the dtype of the images.
        weights: (N, R) float64 in [0, 1].
        log_scale: (N,) float64.
    """

    rows: Tensor
    weights: Tensor
    log_scale: Tensor

    @property
    def rank(self) -> int:
        """R, the number of rows."""
        return self.rows.shape[1]

    def forward(self, vectors: Tensor) -> Tensor:
        """Return A v, (N, R) float64, for (N, D) float64 vectors v."""

        def along(v: Tensor) -> Tensor:
            return (self.rows @ v[:, :, None]).squeeze(2)

        return self.weights * rescaled(along, vectors, self.rows.dtype)

    def backward(self, vectors: Tensor) -> Tensor:
        """Return Aᵀ w, (N, D) float64, for (N, R) float64 vectors w."""

        def back(w: Tensor) -> Tensor:
            return (w[:, None, :] @ self.rows).squeeze(1)

        return rescaled(back, self.weights * vectors, self.rows.dtype)

    def select(self, lanes: Tensor) -> "StoredFactor":
        """Return the factors of some images; their rows are copied."""
        return StoredFactor(self.rows[lanes], self.weights[lanes], self.log_scale[lanes])


def sampled_factor(
    model: nn.Module, images: Tensor, draws: int, generator: SampleGenerator
) -> StoredFactor:
    """Return the factor of Ĝ = (1/n) Σ_i g_{c_i} g_{c_i}ᵀ with n classes c_i drawn from p.

    Zhao et al. (2019), section 3.2: an unbiased estimate of G. Of a class that is drawn several
    times the gradient is computed once. The more confident the model, the less of G is seen: where
    only the predicted class is drawn, Ĝ has rank one, its eigenvector is the gradient of the loss,
    and its eigenvalue is of the order of (1 − p_y)² where that of G is of the order of 1 − p_y.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        draws: n, at least 1.
        generator: One stream per image.

    Returns:
        The factor; an image that drew fewer distinct classes than another one of the batch has
        further rows of weight 0.

    Raises:
        AdvdetectError: The model is in training mode, or its logits are not finite.
    """
    variable, logits = differentiable_logits(model, images)
    odds = log_odds(logits)
    p, share = _distributions(odds)
    drawn = draw_classes(p, draws, generator)
    counts = functional.one_hot(drawn, p.shape[1]).sum(dim=1).to(p.dtype)
    distinct = int((counts > 0).sum(dim=1).max())
    counts, classes = counts.sort(dim=1, descending=True, stable=True)
    counts, classes = counts[:, :distinct], classes[:, :distinct]
    is_predicted = classes == odds.predicted[:, None]
    mean = torch.where(is_predicted[:, :, None], share[:, None, :], p[:, None, :])
    seeds = functional.one_hot(classes, p.shape[1]) - mean
    rows = input_gradients(variable, logits, seeds.to(logits.dtype).transpose(0, 1), images.dtype)
    # The seed of the predicted class is divided by 1 − p_y, which may be too small for its dtype.
    log_r = odds.log_q.logsumexp(dim=1, keepdim=True)
    log_weights = (counts / draws).log() + torch.where(is_predicted, 2 * log_r, 0)
    log_scale = log_weights.amax(dim=1)
    weights = (0.5 * (log_weights - log_scale[:, None])).exp()
    return StoredFactor(rows, weights, log_scale)


def _distributions(odds: LogOdds) -> tuple[Tensor, Tensor]:
    """Return (N, C) float64 p, and q/(1 − p_y) with 0 at y: what p is of each other class."""
    y, count = odds.predicted, odds.log_q.shape[1] + 1
    others = other_classes(y, count)
    nothing = odds.log_q.new_zeros(len(y), count)
    p = nothing.scatter(1, others, odds.log_q.exp())
    p = p.scatter(1, y[:, None], odds.log_p.exp()[:, None])
    return p, nothing.scatter(1, others, odds.log_q.softmax(dim=1))


def rescaled(function: Callable[[Tensor], Tensor], vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """Apply a linear function in a dtype to float64 vectors whose entries it may not hold."""
    peak = vectors.abs().amax(dim=1, keepdim=True)
    scale = torch.where(peak > 0, peak, 1)
    return scale * function((vectors / scale).to(dtype)).to(torch.float64)
