"""The top eigenpair of the input Fisher information, by a choice of methods (Zhao et al. 2019)."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.categorical import log10_of_scaled
from advdetect.fisher.checks import check_eval_mode
from advdetect.fisher.eigensolvers import lanczos, power_iteration, unit
from advdetect.fisher.factors import Factor, JacobianFactor, sampled_factor
from advdetect.fisher.gram_operator import GramOperator, checked_product
from advdetect.fisher.input import top_eigenvector
from advdetect.inference import batch_slices, class_count
from advdetect.many_classes import eigenvector_method
from advdetect.randomness import SampleGenerator

Method = Literal[
    "auto", "exact", "lanczos", "power", "class_lanczos", "alias_lanczos", "alias_power"
]

#: Numbers that may be stored at once (float64: 1 GB), beside the graph of the model; one image's
#: are needed in any case.
_ENTRIES = 2**27


@dataclass(frozen=True)
class TopEigenpair:
    """The largest eigenvalue of G(x) of N images and its eigenvector.

    Attributes:
        vector: (N, C, H, W) in the dtype of the images, of length one, or zero where the gradient
            is zero. Its sign is arbitrary.
        log10_value: (N,) float64, finite.
    """

    vector: Tensor
    log10_value: Tensor


def top_eigenpair(
    model: nn.Module,
    images: Tensor,
    *,
    method: Method,
    generator: SampleGenerator,
    iterations: int = 100,
    tolerance: float = 1e-3,
    draws: int | None = None,
) -> TopEigenpair:
    """Find the eigenvector of the largest eigenvalue of the input Fisher information G(x).

    - "exact": from C − 1 backward passes and a (C − 1)×(C − 1) decomposition, no iteration. The
      stored gradients take 8·(C − 1)·D bytes per image.
    - "lanczos", "power": matrix-free in the space of images, two passes for each product with G.
      Lanczos never needs more than C − 1 products.
    - "class_lanczos": Lanczos on the (C − 1)×(C − 1) matrix that has the same eigenvalues, at the
      same price for a product, with vectors of C − 1 instead of D numbers. For many classes.
    - "alias_lanczos", "alias_power": the same iterations for a Monte Carlo estimate of G from
      classes drawn from p by the alias method; one backward pass for each class drawn. This is
      another matrix: for a confident model it sees the predicted class only, see
      `advdetect.fisher.factors.sampled_factor`.
    - "auto": exact up to `advdetect.many_classes.MANY_CLASSES` classes, class_lanczos above.

    All but those two find the same eigenpair, in the log-odds form of
    `advdetect.fisher.categorical`: however small 1 − p_y is, it costs no digit. On top of what the
    tolerance leaves, a float32 model gives the eigenvalue to about 1e-6 and the eigenvector to
    that divided by (λ₁ − λ₂)/λ₁. Where two eigenvalues are closer than that, any vector between
    theirs is found.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        method: One of the above.
        generator: One stream per image, for start vectors and draws; not used by "exact".
        iterations: Largest number of products with G, at least 1, beside the two that the start
            takes; what is found by then is returned.
        tolerance: An image is done when ‖Gv − λv‖ ≤ tolerance · λ; greater than 0. The eigenvalue
            is then within tolerance² · λ₁/(λ₁ − λ₂) of one, relatively.
        draws: Classes drawn, at least 1; None means C/5, rounded up, as in the paper.

    Returns:
        The eigenpairs. Those of an image do not depend, but for rounding, on the batch.

    Raises:
        AdvdetectError: The model is in training mode, its logits or gradients are not finite, it
            cannot be differentiated twice where the method must, or a parameter is outside its
            range.
    """
    _check_parameters(method, iterations, tolerance, draws)
    check_eval_mode(model)
    classes = class_count(model, images)
    chosen = eigenvector_method(method, classes)
    draws = -(-classes // 5) if draws is None else draws

    vectors_per_image = {
        "exact": classes, "lanczos": classes, "alias_lanczos": 2 * draws, "alias_power": draws,
    }.get(chosen, 1)  # fmt: skip
    # The log-odds' linear forms of the logits, with what it takes to make them, are 4 C² numbers.
    entries = max(vectors_per_image * images[0].numel(), 4 * classes**2)
    chunk = max(1, _ENTRIES // entries)
    parts = []
    for rows in batch_slices(len(images), chunk):
        part, streams = images[rows], generator[rows]
        if chosen == "exact":
            parts.append(TopEigenpair(*top_eigenvector(model, part)))
            continue
        factor: Factor
        if chosen in ("alias_lanczos", "alias_power"):
            factor = sampled_factor(model, part, draws, streams)
            w = streams.normal(draws)[:, : factor.rank]  # a stream goes on as in any other batch
        else:
            factor = JacobianFactor(model, part)
            w = streams.normal(classes - 1)
        parts.append(_iterate(factor, w.to(part.device), part, chosen, iterations, tolerance))
    return TopEigenpair(
        vector=torch.cat([part.vector for part in parts]),
        log10_value=torch.cat([part.log10_value for part in parts]),
    )


def _iterate(
    factor: Factor, w: Tensor, images: Tensor, method: str, iterations: int, tolerance: float
) -> TopEigenpair:
    """Find the top eigenpairs of AᵀA, as a matrix of images or of classes, from (N, R) vectors."""
    t = checked_product(factor, w)
    in_classes = method == "class_lanczos"
    start = t if in_classes else factor.backward(unit(t))  # what the check has found is used
    operator = GramOperator(factor, in_classes)
    if method in ("power", "alias_power"):
        found = power_iteration(operator, start, iterations=iterations, tolerance=tolerance)
    else:
        # After so many products nothing is left to be found: the start is in the range of A.
        most = min(iterations, factor.rank)
        found = lanczos(operator, start, iterations=most, tolerance=tolerance)
    vector = unit(factor.backward(found.vector)) if in_classes else found.vector
    return TopEigenpair(
        vector=vector.view_as(images).to(images.dtype),
        log10_value=log10_of_scaled(found.value, factor.log_scale),
    )


def _check_parameters(method: str, iterations: int, tolerance: float, draws: int | None) -> None:
    if method not in get_args(Method):
        raise AdvdetectError(
            f"The method of a top eigenpair must be one of {', '.join(get_args(Method))}, not "
            f"{method!r}."
        )
    if iterations < 1 or not tolerance > 0 or (draws is not None and draws < 1):
        raise AdvdetectError(
            "A top eigenpair needs iterations and draws of at least 1 and a tolerance greater than "
            f"0, not {iterations}, {draws} and {tolerance}."
        )
