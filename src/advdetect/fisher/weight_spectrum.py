"""Spectrum of the weight Fisher information (Martin & Elster 2019), by a (C − 1)×(C − 1) matrix.

F_θ(x) = Σ_c p_c ∇_θ log p_c ∇_θ log p_cᵀ, equation (3), has rank at most C − 1. With K the Gram
matrix of the gradients of the log-odds by the weights and L the root of
`advdetect.fisher.categorical`, its non-zero eigenvalues are those of LᵀKL. Their sum is the trace.

What arithmetic cannot resolve is reported as the limit of resolution, never as rounding noise:

- Eigenvalues of K below 8 units of rounding of the model's dtype (1e-6 of the largest in float32)
  count as that limit: products of gradients carry no information below it. In K this is rare, since
  each class has weights of its own in the last layer. The spread of the spectrum is that of L.
- Eigenvalues below (C − 1)² ε² of the image's largest, ε = 2.2e-16, count as that limit.
- Where all gradients are zero K counts as 2⁻²⁵², the square of the smallest normal float32 number,
  in all directions.
"""

import torch
from torch import Tensor, nn

from advdetect.fisher.categorical import log_odds
from advdetect.fisher.checks import check_eval_mode, check_finite_gradient
from advdetect.fisher.gram_root import gram_root, log10_eigenvalues
from advdetect.fisher.weight_gradients import record_weight_gradients


def weight_fisher_spectrum(model: nn.Module, images: Tensor) -> Tensor:
    """Return the non-zero eigenvalues of the weight Fisher information, as log10.

    Of the matrix in Martin & Elster (2019), equation (3), for θ all of the model's parameters.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode; it is left as found.
        images: (N, C, H, W) float in [0, 1], at least one. Memory grows with N times the size of
            the model's activations times the number of classes.

    Returns:
        (N, C − 1) float64 log10 eigenvalues, descending, finite, on the device of the images.

    Raises:
        AdvdetectError: The model is in training mode or has no parameters, or its logits or
            gradients are not finite.

    Warns:
        UserWarning: The model needs a slower method; once per model, with the reason.
    """
    check_eval_mode(model)
    recording = record_weight_gradients(model, images)
    odds = log_odds(recording.logits)
    size = odds.log_q.shape[1]
    empty = odds.log_q.new_zeros(len(odds.log_q), size, size)
    gram = sum(recording.parameter_grams(odds.seeds).values(), start=empty)
    check_finite_gradient(gram, by="its weights")
    root = gram_root(gram, 8 * torch.finfo(odds.seeds.dtype).eps)
    return log10_eigenvalues(torch.linalg.svdvals(root @ odds.scaled_root()), odds)
