"""The (C − 1)×(C − 1) matrices of the weight Fisher information, for products with vectors.

F_θ(x) = Σ_c p_c ∇_θ log p_c ∇_θ log p_cᵀ (Martin & Elster 2019, equation (3)) has the non-zero
eigenvalues of LᵀKL (`advdetect.fisher.weight_spectrum`). All of K takes a backward pass for each
class, and the gradients of all of them at once; K u, the derivatives of the log-odds along the
weight gradient of Σ_r u_r η_r, takes a backward pass and its derivative.
"""

import torch
from torch import Tensor, nn

from advdetect.fisher.categorical import log_odds
from advdetect.fisher.checks import check_finite_gradient
from advdetect.fisher.factors import rescaled
from advdetect.fisher.weight_gradients import record_weight_gradients, weight_slopes


class WeightOperator:
    """LᵀKL divided by e^s, matrix-free; a forward pass is recorded and used for all products.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].

    Attributes:
        log_scale: (N,) float64, s.
        rank: C − 1, the largest rank that a matrix can have.

    Raises:
        AdvdetectError: The model has no parameters, or its logits are not finite.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model, self._images = model, images
        self._recording = record_weight_gradients(model, images)
        self._odds = log_odds(self._recording.logits)
        self.log_scale = self._odds.log_scale
        self.rank = self._odds.log_q.shape[1]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the products with (N, C − 1) float64 vectors.

        Raises:
            AdvdetectError: The model cannot be differentiated twice.
        """

        def along(u: Tensor) -> Tensor:
            seed = torch.einsum("nr,rnc->nc", u, self._odds.seeds)
            slopes = weight_slopes(self._model, self._images, self._recording, seed)
            return torch.einsum("rnc,nc->nr", self._odds.seeds, slopes)

        moved = rescaled(along, self._odds.scaled_root_product(vectors), self._odds.seeds.dtype)
        return self._odds.scaled_root_transposed_product(moved)

    def checked(self, vectors: Tensor) -> Tensor:
        """Return the products with (N, C − 1) vectors.

        Raises:
            AdvdetectError: A gradient is not finite, or the model cannot be differentiated twice.
        """
        products = self(vectors.to(torch.float64))
        check_finite_gradient(products, by="its weights")
        return products

    def __len__(self) -> int:
        return len(self._images)

    def select(self, lanes: Tensor) -> "WeightOperator":
        """Return the matrices of some images, which are passed through the model again."""
        return WeightOperator(self._model, self._images[lanes])

    def projected(self, vectors: Tensor) -> Tensor:
        """Return W LᵀKL Wᵀ e^−s, (N, k, k) float64, for (N, k, C − 1) float64 rows W.

        By the gradients of k linear forms of the logits, each good to its own last digit.
        """
        rows = torch.stack([self._odds.scaled_root_product(v) for v in vectors.unbind(1)], dim=1)
        peak = rows.abs().amax(dim=2, keepdim=True)
        scale = torch.where(peak > 0, peak, 1)
        seeds = torch.einsum(
            "nkr,rnc->knc", (rows / scale).to(self._odds.seeds.dtype), self._odds.seeds
        )
        nothing = rows.new_zeros(len(rows), rows.shape[1], rows.shape[1])
        gram = sum(self._recording.parameter_grams(seeds).values(), start=nothing)
        return scale * gram * scale.mT
