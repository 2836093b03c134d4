"""Fisher information sensitivity: how much each pixel matters (Martin & Elster 2019, section 3).

Equation (13), with v = λ ∇_θ log p_ŷ held constant, one value for each input x_i:

    FIS_i = Σ_c ∂_i(v·∇_θ p_c) · ∂_i(v·∇_θ log p_c)

In the log-odds η_c of `advdetect.fisher.categorical`, with the slopes t_c = v·∇_θ η_c, t_ŷ = 0,

    FIS_i = Σ_c p_c (u_c ∂_i log p_c + ∂_i u_c) ∂_i u_c,   u_c = t_c − Σ_d p_d t_d = v·∇_θ log p_c,

which needs the gradients of η_c and t_c by the image and has no cancellation where the model is
certain. For two classes, with m = −η the log-odds of ŷ, a = v·∇_θ m and r = 1 − p_ŷ, it is
p_ŷ r [(r − p_ŷ) ∂_i m·a + ∂_i a] ∂_i a.

Values have both signs (on a LeNet-5 trained on MNIST, 63 % of a digit's pixels are below zero, and
40 % with two classes: medians), so there is no logarithm of them. Their sizes span hundreds of
decades over the images, so that each map is divided by its largest absolute value. Two classes give
another map, not an approximation of the first: there, maps of absolute values, which the paper
plots, have a median cosine of 0.76, and with their signs 0.42.
"""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.capture import differentiate
from advdetect.fisher.categorical import (
    LogOdds,
    log10_of_scaled,
    log_odds,
    other_classes,
    two_class_log_odds,
)
from advdetect.fisher.checks import check_eval_mode, check_finite_gradient
from advdetect.fisher.tangent_choice import weight_tangents
from advdetect.fisher.weight_tangents import WeightTangents
from advdetect.fisher.weights import Classes


@dataclass(frozen=True)
class FisherSensitivity:
    """Fisher information sensitivity of N images, equation (13) of Martin & Elster (2019).

    Attributes:
        relative: (N, C, H, W) float64 in [−1, 1]: the map divided by its largest absolute value;
            zero where the sensitivity is zero or underflows.
        log10_peak: (N,) float64, finite, log10 of that largest absolute value.
    """

    relative: Tensor
    log10_peak: Tensor

    def linear(self) -> Tensor:
        """Return the (N, C, H, W) sensitivity itself, zero where it underflows."""
        return self.relative * (10**self.log10_peak).view(-1, 1, 1, 1)


def fisher_sensitivity(
    model: nn.Module,
    images: Tensor,
    *,
    classes: Classes = "all",
    learning_rate: float = 1.0,
    unit_direction: bool = False,
) -> FisherSensitivity:
    """Return the Fisher information sensitivity, Martin & Elster (2019), equation (13).

    Args:
        model: Classifier with C ≥ 2 logits, in eval mode, whose operations can be differentiated
            twice; it is left as found. Corners, as of ReLU and max pooling, have no second
            derivative and count as straight.
        images: (N, C, H, W) float in [0, 1], at least one. Memory grows with N times the size of
            the model's activations, and with N times the size of an image times the classes.
        classes: "all", at two gradients for each class but one, or "two" for the reduction of
            equation (7), which the paper uses for all but MNIST.
        learning_rate: λ of equation (6), greater than 0; without effect on a unit direction.
        unit_direction: Divide v by its length, as in the quadratic form (8) and in the paper's
            Figure 2. The map changes by one factor per image.

    Returns:
        The maps, each relative to its peak, and the peaks as log10, on the device of the images.

    Raises:
        AdvdetectError: A parameter is out of its range, the model is in training mode, or its
            logits or second derivatives are not finite.

    Warns:
        UserWarning: The model is not covered by the layer rules, so that a slower method is used;
            once per model, with the reason.
    """
    if classes not in get_args(Classes):
        raise AdvdetectError(
            f"The parameter classes of the Fisher sensitivity is {classes!r}; choose one of: "
            f"{', '.join(get_args(Classes))}."
        )
    if not learning_rate > 0:
        raise AdvdetectError(
            f"The learning_rate of the Fisher sensitivity must be greater than 0, "
            f"not {learning_rate}."
        )
    check_eval_mode(model)
    with torch.enable_grad():
        parts = [
            _sensitivity(tangents, classes, learning_rate, unit_direction)
            for tangents in weight_tangents(model, images)
        ]
    return FisherSensitivity(
        torch.cat([part.relative for part in parts]),
        torch.cat([part.log10_peak for part in parts]),
    )


def _sensitivity(
    tangents: WeightTangents, classes: Classes, learning_rate: float, unit_direction: bool
) -> FisherSensitivity:
    odds = (log_odds if classes == "all" else two_class_log_odds)(tangents.logits)
    eta = _differentiable_log_odds(tangents.logits, odds.predicted, classes)
    # v divided by λ and the largest q, so that no gradient underflows: −Σ_c q_c ∇η_c.
    direction = tangents.direction(-(odds.scaled_q.to(eta.dtype) * eta).sum(dim=1))
    slopes, eta_gradients, slope_gradients = [], [], []
    for outcome in eta.unbind(dim=1):
        slope = tangents.along(outcome, direction)
        slopes.append(slope.detach())
        eta_gradients.append(differentiate(outcome, tangents.images))
        slope_gradients.append(differentiate(slope, tangents.images))
    slope_values = torch.stack(slopes, dim=1)
    scaled = _scaled_map(
        odds,
        slope_values,
        *(
            torch.stack(rows, dim=1).flatten(2).double()
            for rows in (eta_gradients, slope_gradients)
        ),
    )
    check_finite_gradient(scaled)
    peak = scaled.abs().amax(dim=1)
    relative = scaled / torch.where(peak > 0, peak, 1)[:, None]
    if unit_direction:
        squared_length = -(odds.scaled_q * slope_values).sum(dim=1)
        log10_peak = log10_of_scaled(peak, odds.log_scale, power=2)
        log10_peak -= log10_of_scaled(squared_length, torch.zeros_like(peak))
    else:
        log10_peak = log10_of_scaled(peak, 3 * odds.log_scale, power=2)
        log10_peak += 2 * math.log10(learning_rate)
    return FisherSensitivity(relative.view_as(tangents.images), log10_peak)


def _differentiable_log_odds(logits: Tensor, predicted: Tensor, classes: Classes) -> Tensor:
    """Return the (n, R) log-odds as functions of the logits; the predicted class is constant."""
    others = logits.gather(1, other_classes(predicted, logits.shape[1]))
    if classes == "two":
        others = others.logsumexp(dim=1, keepdim=True)
    return others - logits.gather(1, predicted[:, None])


def _scaled_map(
    odds: LogOdds, slopes: Tensor, eta_gradients: Tensor, slope_gradients: Tensor
) -> Tensor:
    """Return the (n, D) map divided by the cube of m = max(q), for λ = 1.

    Args:
        odds: The probabilities.
        slopes: (n, R) t / m.
        eta_gradients: (n, R, D) ∂_i η_c.
        slope_gradients: (n, R, D) ∂_i t_c / m.
    """
    q, m = odds.scaled_q[:, :, None], odds.log_scale.exp()[:, None]
    t = slopes[:, :, None]
    # Means over all classes, where the predicted one has η = t = 0; divided by m like q.
    mean_eta = (q * eta_gradients).sum(dim=1)
    mean_t = (q * t).sum(dim=1)
    log_q_gradients = eta_gradients - (m * mean_eta)[:, None]
    mean_gradient = (q * (slope_gradients + log_q_gradients * t)).sum(dim=1)
    u, u_gradients = t - (m * mean_t)[:, None], slope_gradients - (m * mean_gradient)[:, None]
    others = (q * (log_q_gradients * u + u_gradients) * u_gradients).sum(dim=1)
    p = odds.log_p.exp()[:, None]
    own = p * m * (mean_gradient - m * mean_eta * mean_t) * mean_gradient
    return others + own
