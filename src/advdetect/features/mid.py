"""Mutual information between the classes of an image and of what a generator makes of it (MID).

Hsu et al. 2018 write I(X, Y) = H(Y) − H(Y|X) with X = f(x) and Y = f(ae(x)), and leave the joint
distribution open. One image gives one distribution for X and one for Y; were they independent, I
would be 0 for every image. Each estimator here is one way to join them, a true joint distribution,
so that all identities between entropies hold.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from advdetect.autoencoders.fitting import restore, select
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

Estimator = Literal["pair", "mixture", "samples"]


@torch.no_grad()
def mid(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    fitted: dict[str, Tensor],
    estimator: Estimator = "pair",
    draws: int = 16,
    autoencoder: int = 1,
) -> dict[str, Tensor]:
    """Return the mutual information, the variation of information and the Jaccard score.

    Hsu et al. 2018. ``estimator`` chooses X, Y and their joint distribution; p(·) are the class
    probabilities of the classifier:

    - ``pair``: X is a class drawn from p(x) and Y one drawn from p(ae(x)), as in the slides. They
      agree as often as these allow (the maximal coupling) and are independent where they differ:
      P(X = i, Y = j) = δ_ij m_i + r_i s_j / t, with m = min(p(x), p(ae(x))), r = p(x) − m,
      s = p(ae(x)) − m, t = Σ r. Adversarial images are expected to have a low Jaccard score: of the
      doubt in both predictions, however small, little is shared. I itself is no score here, since
      it is bounded by the entropies, which are 0 for any confident prediction.
    - ``mixture``: X is one of the two views x and ae(x), by a fair coin, Y the class of that view.
      I = H((p(x) + p(ae(x)))/2) − (H(p(x)) + H(p(ae(x))))/2, which is MagNet's divergence at T = 1.
    - ``samples``: X is one of K random reconstructions x_k, each as likely, Y its class.
      I = H(mean_k p(x_k)) − mean_k H(p(x_k)).

    With ``mixture`` and ``samples``, I and the Jaccard score are expected to be high for
    adversarial images: they are 0 where all views have the same prediction.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: One stream per image, for ``samples``.
        fitted: Auto-encoders, from `advdetect.features.magnet.fit`.
        estimator: As above.
        draws: K of ``samples``, at least 2; not used by the others.
        autoencoder: Which of the auto-encoders is the generator, from 1.

    Returns:
        (N,) float64 on the CPU, in nats: ``mutual_information`` I, in [0, min(H(X), H(Y))];
        ``variation_of_information`` d = H(X) + H(Y) − 2I, at least 0; and ``jaccard``
        1 − d / H(X, Y), in [0, 1], which Hsu et al. call the Jaccard distance. Where H(X, Y) = 0,
        which only ``pair`` can reach, it is 1 if X = Y and 0 if not.

    Raises:
        AdvdetectError: There is no such auto-encoder or estimator, or draws is below 2.
    """
    if estimator not in get_args(Estimator):
        known = ", ".join(get_args(Estimator))
        raise AdvdetectError(f"estimator={estimator} is unknown: use one of {known}.")
    if draws < 2:
        raise AdvdetectError(f"draws={draws}: mutual information needs at least 2 samples.")
    network = select(restore(fitted), autoencoder)
    if estimator == "samples":
        views = [network.draw(images, generator) for _ in range(draws)]
    else:
        views = [images, network(images)]
    logits = torch.stack([model(view).cpu().double() for view in views])
    if estimator == "pair":
        return measures(entropies_of_pair(*logits))
    return measures(entropies_of_views(logits))


@dataclass(frozen=True)
class Entropies:
    """Entropies of a joint distribution of X and Y, each (N,) float64 in nats, at least 0.

    Attributes:
        x: H(X).
        y: H(Y).
        joint: H(X, Y).
        limit: The Jaccard score where H(X, Y) = 0.
    """

    x: Tensor
    y: Tensor
    joint: Tensor
    limit: Tensor


def measures(entropies: Entropies) -> dict[str, Tensor]:
    """Return the three columns of `mid`.

    The bounds hold to the bit: 0 ≤ I ≤ min(H(X), H(Y)), d ≥ 0 and 0 ≤ Jaccard ≤ 1. Rounding
    errors of I and d are some 1e-15 of H(X, Y).

    Args:
        entropies: Of each image's joint distribution.
    """
    x, y = entropies.x, entropies.y
    information = (x + y - entropies.joint).clamp_min(0).minimum(x).minimum(y)
    variation = (x - information) + (y - information)
    joint = variation + information
    # 1 − d / H(X, Y) = I / H(X, Y); the first form would cancel.
    jaccard = torch.where(joint > 0, information / joint, entropies.limit)
    return {
        "mutual_information": information,
        "variation_of_information": variation,
        "jaccard": jaccard,
    }


def entropies_of_pair(logits: Tensor, rebuilt_logits: Tensor) -> Entropies:
    """Return the entropies of X ~ softmax(logits) and Y ~ softmax(rebuilt_logits), as ``pair``.

    With m, r, s and t as in `mid`, H(X, Y) = h(m) + h(r) + h(s) − h(t), where h is the sum of
    −u log u over the entries: the C×C joint distribution is never formed. Accurate relative to
    H(X, Y) however confident the predictions are, for which 1 − u is carried beside every u.

    Args:
        logits: (N, C) float64.
        rebuilt_logits: As logits.
    """
    p, not_p = _probabilities(logits)
    q, not_q = _probabilities(rebuilt_logits)
    m, not_m = torch.minimum(p, q), torch.maximum(not_p, not_q)
    # p − q, from the complements where both are near 1.
    difference = torch.where((p > 0.5) & (q > 0.5), not_q - not_p, p - q)
    r, s = difference.clamp_min(0), (-difference).clamp_min(0)
    t, not_t = r.sum(dim=1, keepdim=True), m.sum(dim=1, keepdim=True)
    joint = _entropy(m, not_m) + _entropy(r, not_p + m) + _entropy(s, not_q + m)
    return Entropies(
        x=_entropy(p, not_p),
        y=_entropy(q, not_q),
        joint=(joint - _entropy(t, not_t)).clamp_min(0),
        # Two certain classes are equal or not: m holds all probability or none.
        limit=not_t.squeeze(1).round(),
    )


def entropies_of_views(logits: Tensor) -> Entropies:
    """Return the entropies where X is one of K views, each as likely, and Y its class.

    H(X) = log K, H(Y) = H(mean_k p_k) and H(X, Y) = log K + mean_k H(p_k).

    Args:
        logits: (K, N, C) float64, of each view of each image.
    """
    p, not_p = _probabilities(logits)
    which = p.new_full(p.shape[1:2], math.log(len(p)))
    return Entropies(
        x=which,
        y=_entropy(p.mean(dim=0), not_p.mean(dim=0)),
        joint=which + _entropy(p, not_p).mean(dim=0),
        limit=torch.ones_like(which),  # never reached: H(X, Y) is at least log K
    )


def _probabilities(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return softmax(logits) and 1 − softmax(logits), both with small relative errors."""
    p = logits.softmax(dim=-1)
    largest = p.argmax(dim=-1, keepdim=True)
    others = p.scatter(-1, largest, 0).sum(dim=-1, keepdim=True)
    return p, (1 - p).scatter(-1, largest, others)


def _entropy(values: Tensor, complements: Tensor) -> Tensor:
    """Return the sum over the last dimension of −u log u, given u and 1 − u, in [0, 1]."""
    near_one = (complements - 1) * torch.log1p(-complements.clamp_max(0.5))
    return torch.where(values > 0.5, near_one, torch.special.entr(values)).sum(dim=-1)
