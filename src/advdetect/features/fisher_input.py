"""Eigenvalues of the input Fisher information as features (Zhao et al. 2019)."""

from typing import Literal, get_args

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.input import input_fisher_spectrum
from advdetect.fisher.leading_spectrum import leading_input_spectrum
from advdetect.inference import class_count
from advdetect.many_classes import eigenvalue_method
from advdetect.randomness import SampleGenerator

Method = Literal["auto", "exact", "lanczos"]


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
    if top_k < 1:
        raise AdvdetectError(f"The top_k of fisher_input must be at least 1, not {top_k}.")
    if method not in get_args(Method):
        raise AdvdetectError(
            f"The method of fisher_input is {method!r}; choose one of: "
            f"{', '.join(get_args(Method))}."
        )
    chosen: str = method
    if method == "auto":
        chosen = eigenvalue_method(method, class_count(model, images))
    if chosen == "exact":
        spectrum = input_fisher_spectrum(model, images)[:, :top_k]
    else:
        spectrum = leading_input_spectrum(model, images, top_k, generator=generator)
    return {
        f"log10_eigenvalue_{rank:02d}": values
        for rank, values in enumerate(spectrum.cpu().unbind(1), 1)
    }
