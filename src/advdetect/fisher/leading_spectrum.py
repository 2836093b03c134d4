"""The largest eigenvalues of the Fisher information, of inputs or weights, of many classes.

All eigenvalues take a backward pass for each class but one (`advdetect.fisher.input`,
`advdetect.fisher.weight_spectrum`). The largest are found by the Lanczos method on the
(C − 1)×(C − 1) matrix that has the same ones, LᵀJJᵀL for the inputs, at a backward pass and its
derivative for each product.

A product is good to about 1e-7 of the largest eigenvalue in float32, which may be more than the
smallest that is asked for. Where it may, the values are not those of the iteration, but those of
the matrix on the span of its vectors, made from one gradient for each of them and good to about
1e-6 of themselves.
"""

import torch
from torch import Tensor, nn

from advdetect.fisher.categorical import log10_of_scaled
from advdetect.fisher.checks import check_eval_mode
from advdetect.fisher.eigensolvers import leading_eigenpairs
from advdetect.fisher.factors import JacobianFactor
from advdetect.fisher.gram_operator import GramOperator
from advdetect.fisher.weight_operator import WeightOperator
from advdetect.randomness import SampleGenerator

#: Products of one image, at two passes each; with the passes for 20 values and for the start, 120.
_PRODUCTS = 46

#: ‖Gv − λv‖ / λ at which an image is done. At one of 0.01 the values are good to a percent, but one
#: of 40 photos lacked one of its 20 largest (docs/decisions.md).
_TOLERANCE = 1e-4

#: The iteration's own values are taken where the smallest is above so many roundings of the first.
_ROUNDINGS = 1000


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
    operator = GramOperator(JacobianFactor(model, images), in_classes=True)
    return _leading(operator, images, count, generator)


def leading_weight_spectrum(
    model: nn.Module, images: Tensor, count: int, *, generator: SampleGenerator
) -> Tensor:
    """Return the largest eigenvalues of the weight Fisher information F_θ(x), as log10.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode, that can be differentiated twice.
        images: (N, C, H, W) float in [0, 1].
        count: How many eigenvalues, at least 1; beyond C − 1 there are none.
        generator: One stream per image, for the first vector.

    Returns:
        (N, min(count, C − 1)) float64 log10 eigenvalues, descending, finite.

    Raises:
        AdvdetectError: The model is in training mode, has no parameters or cannot be differentiated
            twice, or its logits or gradients are not finite.

    Warns:
        UserWarning: The model needs a slower method; once per model, with the reason.
    """
    check_eval_mode(model)
    operator = WeightOperator(model, images)
    return _leading(operator, images, count, generator)


def _leading(
    operator: GramOperator | WeightOperator, images: Tensor, count: int, generator: SampleGenerator
) -> Tensor:
    """Return (N, min(count, R)) log10 eigenvalues of the matrices of N images, descending."""
    count = min(count, operator.rank)
    found = leading_eigenpairs(
        operator,
        operator.checked(generator.normal(operator.rank).to(images.device)),
        count,
        iterations=min(max(_PRODUCTS, 2 * count + 8), operator.rank),
        tolerance=_TOLERANCE,
    )
    values, rounding = found.value, torch.finfo(images.dtype).eps
    lost = (values[:, -1] < _ROUNDINGS * rounding * values[:, 0]).nonzero().flatten()
    if len(lost):
        matrix = operator.select(lost).projected(found.vector[lost])
        values[lost] = torch.linalg.eigvalsh(matrix).flip(1)
    floor = values[:, :1] * values.shape[1] * torch.finfo(values.dtype).eps
    return log10_of_scaled(values.maximum(floor), operator.log_scale)
