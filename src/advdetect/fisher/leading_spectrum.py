"""The largest eigenvalues of the input Fisher information where there are many classes.

All eigenvalues of G(x) take a backward pass for each class but one (`advdetect.fisher.input`). The
largest are found by the Lanczos method on the (C − 1)×(C − 1) matrix AAᵀ = LᵀJJᵀL that has the same
ones, at a backward pass and its derivative for each product.

A product in float32 is good to 1e-6 of the largest eigenvalue, which may be more than the smallest
that is asked for. So the values are not those of the iteration, but ‖Aᵀw‖² of its vectors w, each
good to about 1e-6 of itself: one more backward pass for each.
"""

import torch
from torch import Tensor, nn

from advdetect.fisher.categorical import log10_of_scaled
from advdetect.fisher.checks import check_eval_mode
from advdetect.fisher.eigensolvers import leading_eigenpairs
from advdetect.fisher.factors import JacobianFactor
from advdetect.fisher.gram_operator import GramOperator, checked_product
from advdetect.randomness import SampleGenerator

#: Products of one image, at two passes each; with the passes for 20 values and for the start, 120.
_PRODUCTS = 46

#: ‖Gv − λv‖ / λ at which an image is done: an eigenvalue is then as near to λ, relatively.
_TOLERANCE = 0.01


def leading_input_spectrum(
    model: nn.Module, images: Tensor, count: int, *, generator: SampleGenerator
) -> Tensor:
    """Return the largest eigenvalues of the input Fisher information G(x), as log10.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode, that can be differentiated twice.
        images: (N, C, H, W) float in [0, 1].
        count: How many eigenvalues, at least 1; beyond C − 1 there are none.
        generator: One stream per image, for the first vector.

    Returns:
        (N, min(count, C − 1)) float64 log10 eigenvalues, descending, finite.

    Raises:
        AdvdetectError: The model is in training mode or cannot be differentiated twice, or its
            logits or gradients are not finite.
    """
    check_eval_mode(model)
    factor = JacobianFactor(model, images)
    count = min(count, factor.rank)
    start = checked_product(factor, generator.normal(factor.rank).to(images.device))
    operator = GramOperator(factor, in_classes=True)
    products = min(max(_PRODUCTS, 2 * count + 8), factor.rank)
    pairs = leading_eigenpairs(operator, start, count, iterations=products, tolerance=_TOLERANCE)
    rows = torch.stack([factor.backward(vector) for vector in pairs.vector.unbind(1)], dim=1)
    values = torch.linalg.eigvalsh(rows @ rows.mT).flip(1)
    floor = values[:, :1] * count * torch.finfo(values.dtype).eps
    return log10_of_scaled(values.maximum(floor), factor.log_scale)
