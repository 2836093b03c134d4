"""The paper's finite differences for directional derivatives of log p (Martin & Elster 2019, (9)).

For comparison with the published method: one image and direction at a time, in float64, since in
float32 the differences are rounding noise for images that are classified with confidence.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advdetect.fisher.categorical import LogOdds
from advdetect.fisher.per_sample import weight_gradients

#: `log_odds` or `two_class_log_odds`: logits and predicted classes to probabilities.
Outcomes = Callable[[Tensor, Tensor], LogOdds]


def finite_difference_form(
    model: nn.Module,
    images: Tensor,
    predicted: Tensor,
    outcomes: Outcomes,
    step: float,
    per_tensor: bool,
) -> tuple[Tensor, Tensor]:
    """Return vᵀFv / ‖v‖² with v·∇ log p_c ≈ (log p_c(θ + ε'v̂) − log p_c(θ)) / ε', v̂ = v/‖v‖.

    Args:
        model: Classifier in eval mode; a float64 copy of it is perturbed.
        images: (N, C, H, W) float.
        predicted: (N,) int64 class ŷ, v = ∇_θ log p_ŷ.
        outcomes: How logits become probabilities.
        step: ε', greater than 0.
        per_tensor: Perturb one weight tensor at a time and add up the forms: the block-diagonal
            part of F, one block per tensor.

    Returns:
        (N,) float64 normalised form divided by m = max(q), and (N,) float64 ‖v‖² divided by m².
    """
    double = copy.deepcopy(model).to(torch.float64)
    forms = [
        _one_image(double, image[None], label[None], outcomes, step, per_tensor)
        for image, label in zip(images.to(torch.float64), predicted, strict=True)
    ]
    normalized, squared_length = zip(*forms, strict=True)
    return torch.stack(normalized), torch.stack(squared_length)


@torch.no_grad()
def _one_image(
    model: nn.Module,
    image: Tensor,
    predicted: Tensor,
    outcomes: Outcomes,
    step: float,
    per_tensor: bool,
) -> tuple[Tensor, Tensor]:
    """Return the form and the squared length of one image, in the units of the caller."""
    odds = outcomes(model(image.clone()), predicted)
    seed = -(odds.scaled_q.T[:, :, None] * odds.seeds).sum(dim=0, keepdim=True)
    (v,) = weight_gradients(model, image, seed)
    pairs = list(zip(model.parameters(), v, strict=True))
    form, total = image.new_zeros(()), image.new_zeros(())
    for block in [[pair] for pair in pairs] if per_tensor else [pairs]:
        squared_length = torch.stack([part.square().sum() for _, part in block]).sum()
        total += squared_length
        if squared_length > 0:
            moved = _move(model, image, block, step / squared_length.sqrt())
            form += squared_length * _second_moment(odds, outcomes(moved, predicted), step)
    return form / torch.where(total > 0, total, 1), total


def _move(
    model: nn.Module, image: Tensor, block: Sequence[tuple[Tensor, Tensor]], factor: Tensor
) -> Tensor:
    """Return the logits at θ + factor · v, leaving θ as it was."""
    originals = [parameter.clone() for parameter, _ in block]
    for parameter, direction in block:
        parameter.add_(factor * direction)
    logits = model(image.clone())
    for (parameter, _), original in zip(block, originals, strict=True):
        parameter.copy_(original)
    return logits


def _second_moment(odds: LogOdds, moved: LogOdds, step: float) -> Tensor:
    """Return Σ_c p_c (Δ log p_c / ε')² of one image, divided by max(q)."""
    others = (odds.scaled_q * ((moved.log_q - odds.log_q) / step).square()).sum()
    # The predicted class's difference is of the order of max(q), so exp must not overflow before
    # the product; where the limit applies, the difference is zero.
    root = (-0.5 * odds.log_scale.clamp_min(-1400)).exp()
    own = odds.log_p.exp() * (root * (moved.log_p - odds.log_p) / step).square()
    return others + own.sum()
