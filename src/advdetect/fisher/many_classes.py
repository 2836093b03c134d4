"""Weight Fisher quantities (Martin & Elster 2019) where one backward pass per class is too much.

With q the probabilities of the classes other than the predicted one, r their sum, and η_c the
log-odds of `advdetect.fisher.categorical`:

- tr F = r E_{c∼q/r}‖∇_θ η_c‖² − ‖∇_θ log p_ŷ‖². The terms of the most probable classes are taken
  exactly and the others sampled. Since the squared norms differ little from class to class, a few
  samples do, where sampling from p itself would see the predicted class alone.
- vᵀFv, equation (5), is the variance over c∼p of (J v)_c, J the Jacobian of the logits by the
  weights: one backward pass for v and a double one for J v, whatever the number of classes.
"""

import torch
from torch import Tensor, nn

from advdetect.fisher.alias import draw_classes
from advdetect.fisher.categorical import LogOdds, other_classes
from advdetect.fisher.weight_gradients import WeightGradients, weight_slopes
from advdetect.randomness import SampleGenerator

#: Seeds whose gradients are held at once; more are done in parts.
SEEDS_AT_ONCE = 16


def mean_squared_norm(
    gradients: WeightGradients,
    odds: LogOdds,
    top: int,
    tail_samples: int,
    generator: SampleGenerator,
) -> Tensor:
    """Estimate Σ_c q_c ‖∇_θ η_c‖² divided by max(q), without bias.

    Args:
        gradients: The recorded forward pass of N images.
        odds: Its log-odds of R outcomes.
        top: Outcomes taken exactly, the most probable ones, in [1, R − 1].
        tail_samples: Outcomes drawn from the others, in proportion to q, at least 1.
        generator: One stream per image.

    Returns:
        (N,) float64.
    """
    q = odds.scaled_q
    likely = q.topk(top, dim=1).indices
    tail = odds.log_q.scatter(1, likely, -torch.inf).softmax(dim=1)
    drawn = draw_classes(tail, tail_samples, generator)
    tail_mass = q.scatter(1, likely, 0).sum(dim=1, keepdim=True)
    weights = torch.cat(
        [q.gather(1, likely), (tail_mass / tail_samples).expand(-1, tail_samples)], dim=1
    )
    chosen = torch.cat([likely, drawn], dim=1).T  # (top + tail_samples, N)
    seeds = odds.seeds[chosen, torch.arange(len(q), device=q.device)]
    total = torch.zeros_like(tail_mass)
    for part, share in zip(
        seeds.split(SEEDS_AT_ONCE), weights.split(SEEDS_AT_ONCE, dim=1), strict=True
    ):
        for matrix in gradients.parameter_grams(part).values():
            norms = matrix.diagonal(dim1=1, dim2=2)
            total += (share * norms).sum(dim=1, keepdim=True)
    return total.squeeze(1)


def products_with_mean(
    model: nn.Module, images: Tensor, gradients: WeightGradients, odds: LogOdds
) -> Tensor:
    """Return ∇_θ η_c · Σ_d q_d ∇_θ η_d divided by max(q), for every class c but the predicted one.

    Up to sign and scale these are the derivatives v·∇_θ η_c of equation (5).

    Args:
        model: Classifier in eval mode, whose operations can be differentiated twice.
        images: (N, C, H, W) float.
        gradients: The recorded forward pass of these images.
        odds: `log_odds` of its logits, R = C − 1 outcomes.

    Returns:
        (N, R) float64.

    Raises:
        AdvdetectError: The model cannot be differentiated twice.
    """
    q, predicted = odds.scaled_q, odds.predicted[:, None]
    others = other_classes(odds.predicted, q.shape[1] + 1)
    seed = q.new_zeros(len(q), q.shape[1] + 1)
    seed.scatter_(1, others, q).scatter_(1, predicted, -q.sum(dim=1, keepdim=True))
    slopes = weight_slopes(model, images, gradients, seed.to(gradients.logits.dtype)).to(q.dtype)
    return slopes.gather(1, others) - slopes.gather(1, predicted)
