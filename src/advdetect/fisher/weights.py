"""Fisher information of the weights (Martin & Elster 2019), exact, from Gram matrices.

F_θ(x) = Σ_c p_c ∇_θ log p_c ∇_θ log p_cᵀ is never formed. With q the probabilities of the classes
other than the predicted one and K the Gram matrix of the gradients of their log-odds,

    tr F = Σ_c q_c K_cc − qᵀKq,   ‖∇_θ log p_ŷ‖² = qᵀKq,   vᵀFv = λ² Var_{c∼p}[(Kq)_c],

where (Kq)_ŷ = 0. θ is all of the model's parameters, frozen ones and those of batch norm included;
folding batch norm into the layer before it therefore changes the values.

The values span hundreds of decades, so they are computed with the largest q divided out and
returned as log10, always finite: where all gradients vanish, or underflow, their squared norm
counts as 2⁻²⁵², the square of the smallest normal float32 number.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.categorical import (
    LogOdds,
    log10_of_scaled,
    log_odds,
    two_class_log_odds,
)
from advdetect.fisher.checks import check_eval_mode, check_finite_gradient
from advdetect.fisher.finite_difference import finite_difference_form
from advdetect.fisher.many_classes import SEEDS_AT_ONCE, mean_squared_norm, products_with_mean
from advdetect.fisher.weight_gradients import WeightGradients, record_weight_gradients
from advdetect.many_classes import weight_fisher_form
from advdetect.randomness import SampleGenerator

Classes = Literal["all", "two"]
Derivative = Literal["exact", "finite_difference"]
Block = Literal["none", "tensor"]
Approximation = Literal["auto", "none", "top_k"]


@dataclass(frozen=True)
class WeightFisherForms:
    """Quantities of the weight Fisher information, for N images, as log10.

    Attributes:
        log10_trace: (N,) float64, tr F, equation (4).
        log10_quadratic_form: (N,) float64, vᵀFv with v = λ ∇_θ log p_ŷ, equations (5) and (6).
        log10_normalized_form: (N,) float64, vᵀFv / ‖v‖², equation (8).
    """

    log10_trace: Tensor
    log10_quadratic_form: Tensor
    log10_normalized_form: Tensor

    def linear(self) -> dict[str, Tensor]:
        """Return trace, quadratic_form and normalized_form themselves, zero if they underflow."""
        return {name.removeprefix("log10_"): 10**value for name, value in vars(self).items()}


def weight_fisher_forms(
    model: nn.Module,
    images: Tensor,
    *,
    classes: Classes = "all",
    derivative: Derivative = "exact",
    block: Block = "none",
    learning_rate: float = 1.0,
    step: float = 1e-4,
    approximation: Approximation = "none",
    top: int = 10,
    tail_samples: int = 2,
    generator: SampleGenerator | None = None,
) -> WeightFisherForms:
    """Return trace, quadratic form and normalised form of the weight Fisher information.

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode; it is left as found.
        images: (N, C, H, W) float in [0, 1], at least one. Memory grows with N times the size of
            the model's activations times min(C, 16).
        classes: "all", or "two" for the reduction of equation (7), at one backward pass.
        derivative: "exact", or "finite_difference" for equation (9) in both quadratic forms (the
            trace stays exact), which is slow: one image at a time, in float64.
        block: "none", or "tensor" for the block-diagonal part of F, one block per weight tensor,
            as the authors' published code computes it.
        learning_rate: λ of equation (6), greater than 0.
        step: ε' of equation (9), greater than 0; only for finite differences.
        approximation: "none", or "top_k" where there are too many classes for a backward pass
            each: the trace from the most probable classes and a sample of the others, without
            bias; both quadratic forms exact, by a double backward pass. For all of F, not blocks.
            "auto" is "top_k" above `advdetect.many_classes.MANY_CLASSES` classes, and "none" up to
            them and for blocks.
        top: Classes beside the predicted one that the trace is exact for, at least 1; with C − 1 or
            more of them nothing is approximated. Only for the approximation, like the next two.
        tail_samples: Classes sampled from the others, at least 1.
        generator: One stream per image, for that sample.

    Returns:
        The quantities as log10.

    Raises:
        AdvdetectError: A parameter is out of its range, the model is in training mode, or its
            logits or gradients are not finite.

    Warns:
        UserWarning: The model needs a slower method; once per model, with the reason.
    """
    _check_parameters(classes, derivative, block, learning_rate, step)
    _check_approximation(approximation, block, top, tail_samples, generator)
    check_eval_mode(model)
    outcomes = log_odds if classes == "all" else two_class_log_odds
    recording = record_weight_gradients(model, images)
    odds = outcomes(recording.logits)
    others = odds.log_q.shape[1]
    form = weight_fisher_form(approximation, block, others + 1)
    if generator is not None and form == "top_k" and top < others:
        norm = mean_squared_norm(recording, odds, top, tail_samples, generator)
        blocks = [(norm, products_with_mean(model, images, recording, odds))]
    else:
        blocks = _blocks(recording, odds, per_tensor=block == "tensor")
    moments = _moments(odds, blocks)
    squared_length = log10_of_scaled(moments.squared_length, 2 * odds.log_scale)
    if derivative == "exact":
        quadratic = log10_of_scaled(moments.form, 3 * odds.log_scale, power=2)
        normalized = quadratic - squared_length
    else:
        difference, length = finite_difference_form(
            model, images, odds.predicted, outcomes, step, per_tensor=block == "tensor"
        )
        normalized = log10_of_scaled(difference, odds.log_scale)
        quadratic = normalized + log10_of_scaled(length, 2 * odds.log_scale)
    return WeightFisherForms(
        log10_trace=log10_of_scaled(moments.trace, odds.log_scale),
        log10_quadratic_form=quadratic + 2 * math.log10(learning_rate),
        log10_normalized_form=normalized,
    )


class _Moments(NamedTuple):
    """Sums over blocks of θ, (N,) float64, in units of the powers of m = max(q) that they have.

    Attributes:
        trace: tr F / m.
        squared_length: ‖∇_θ log p_ŷ‖² / m².
        form: vᵀFv / m³ with λ = 1, v = ∇_θ log p_ŷ.
    """

    trace: Tensor
    squared_length: Tensor
    form: Tensor


def _moments(odds: LogOdds, blocks: list[tuple[Tensor, Tensor]]) -> _Moments:
    q, m = odds.scaled_q, odds.log_scale.exp()
    total = _Moments(*torch.zeros(3, len(m), dtype=m.dtype, device=m.device))
    for norm, products in blocks:
        squared_length = (q * products).sum(dim=1)
        mean = m * squared_length  # of (Kq)_c / m over c ~ p, where (Kq)_y = 0
        variance = (q * (products - mean[:, None]).square()).sum(dim=1)
        total.trace.add_(norm - m * squared_length)
        total.squared_length.add_(squared_length)
        total.form.add_(variance + odds.log_p.exp() * m * squared_length.square())
    check_finite_gradient(*total, by="its weights")
    return total


def _blocks(
    gradients: WeightGradients, odds: LogOdds, per_tensor: bool
) -> list[tuple[Tensor, Tensor]]:
    """Return (N,) Σ_c q_c K_cc and (N, R) Kq, float64, divided by max(q), for every block of θ."""
    q = odds.scaled_q

    def block(diagonal: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
        return (q * diagonal).sum(dim=1), products

    if len(odds.seeds) <= SEEDS_AT_ONCE:
        grams = _block_grams(gradients, odds.seeds, per_tensor)
        return [block(k.diagonal(dim1=1, dim2=2), (k @ q[:, :, None]).squeeze(2)) for k in grams]
    # Too many seeds to hold: some at a time, each time beside the one whose gradient is that of q.
    average = torch.einsum("nr,rnc->nc", q, odds.seeds.to(q.dtype)).to(odds.seeds.dtype)
    parts = [
        _block_grams(gradients, torch.cat([seeds, average[None]]), per_tensor)
        for seeds in odds.seeds.split(SEEDS_AT_ONCE)
    ]
    return [
        block(
            torch.cat([k.diagonal(dim1=1, dim2=2)[:, :-1] for k in ks], dim=1),
            torch.cat([k[:, :-1, -1] for k in ks], dim=1),
        )
        for ks in zip(*parts, strict=True)
    ]


def _block_grams(gradients: WeightGradients, seeds: Tensor, per_tensor: bool) -> list[Tensor]:
    """Return the (N, R, R) Gram matrices of each weight tensor, or their sum."""
    grams = list(gradients.parameter_grams(seeds).values())
    return grams if per_tensor or not grams else [torch.stack(grams).sum(dim=0)]


def _check_parameters(
    classes: str, derivative: str, block: str, learning_rate: float, step: float
) -> None:
    _check_choice("classes", classes, get_args(Classes))
    _check_choice("derivative", derivative, get_args(Derivative))
    _check_choice("block", block, get_args(Block))
    if not (learning_rate > 0 and step > 0):
        raise AdvdetectError(
            "The learning_rate and step of the weight Fisher information must be greater than 0, "
            f"not {learning_rate} and {step}."
        )


def _check_approximation(
    approximation: str,
    block: str,
    top: int,
    tail_samples: int,
    generator: SampleGenerator | None,
) -> None:
    _check_choice("approximation", approximation, get_args(Approximation))
    if approximation == "none":
        return
    if approximation == "top_k" and block != "none":
        raise AdvdetectError(
            "The approximation top_k of the weight Fisher information has no block-diagonal form: "
            "set block to none, or approximation to none."
        )
    if top < 1 or tail_samples < 1:
        raise AdvdetectError(
            "The top and tail_samples of the weight Fisher information must be at least 1, "
            f"not {top} and {tail_samples}."
        )
    if generator is None:
        raise AdvdetectError(
            "The approximation top_k of the weight Fisher information draws classes: give it a "
            "generator with one stream per image."
        )


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise AdvdetectError(
            f"The parameter {name} of the weight Fisher information is {value!r}; "
            f"choose one of: {', '.join(allowed)}."
        )
