"""Eigenvalues of the weight Fisher information as features (Martin & Elster 2019)."""

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.weight_spectrum import weight_fisher_spectrum
from advdetect.randomness import SampleGenerator


def fisher_weights_spectrum(
    model: nn.Module, images: Tensor, *, generator: SampleGenerator, top_k: int = 20
) -> dict[str, Tensor]:
    """Return the largest eigenvalues of F(x) = Σ_c p_c ∇_θ log p_c ∇_θ log p_cᵀ, as log10.

    Martin & Elster (2019), equation (3); their trace, equation (4), is the sum of all eigenvalues.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: Unused; the feature is deterministic.
        top_k: How many eigenvalues, at least 1. At most C − 1 are not zero by definition, and no
            others are returned.

    Returns:
        Columns ``log10_eigenvalue_01``, ``log10_eigenvalue_02``, … in descending order, each (N,)
        float64 on the CPU, finite. See `advdetect.fisher.weight_spectrum` for what arithmetic
        cannot resolve.

    Raises:
        AdvdetectError: ``top_k`` is below 1, or the model does not suit.
    """
    if top_k < 1:
        raise AdvdetectError(
            f"The top_k of fisher_weights_spectrum must be at least 1, not {top_k}."
        )
    spectrum = weight_fisher_spectrum(model, images)[:, :top_k].cpu()
    return {
        f"log10_eigenvalue_{rank:02d}": values for rank, values in enumerate(spectrum.unbind(1), 1)
    }
