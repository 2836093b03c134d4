"""Eigenvalues of the input Fisher information as features (Zhao et al. 2019)."""

from torch import Tensor, nn

from advdetect.features.eigenvalues import Method, eigenvalue_columns
from advdetect.fisher.input import input_fisher_spectrum
from advdetect.fisher.leading_spectrum import leading_input_spectrum
from advdetect.randomness import SampleGenerator


def fisher_input(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    top_k: int = 20,
    method: Method = "auto",
) -> dict[str, Tensor]:
    """Return the largest eigenvalues of G(x) = Σ_c p_c ∇_x log p_c ∇_x log p_cᵀ, as log10.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: One stream per image, for the first vector of "lanczos"; "exact" draws nothing.
        top_k: How many eigenvalues, at least 1 (20 in the paper). At most C − 1 are not zero by
            definition, and no others are returned.
        method: "exact", from a backward pass for each class; "lanczos", for many classes, from at
            most 120 passes for 20 eigenvalues, see `advdetect.fisher.leading_spectrum`; "auto"
            takes "lanczos" above 120 classes.

    Returns:
        Columns ``log10_eigenvalue_01``, ``log10_eigenvalue_02``, … in descending order, each (N,)
        float64 on the CPU, finite. See `advdetect.fisher.input` for what arithmetic cannot resolve.

    Raises:
        AdvdetectError: ``top_k`` is below 1, the method is unknown, or the model does not suit.
    """
    return eigenvalue_columns(
        "fisher_input",
        model,
        images,
        generator=generator,
        top_k=top_k,
        method=method,
        exact=input_fisher_spectrum,
        leading=leading_input_spectrum,
    )
