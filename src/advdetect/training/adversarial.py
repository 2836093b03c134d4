"""Adversarial training (Goodfellow, Shlens and Szegedy 2015, section 6; Madry et al. 2018)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.imports import locate
from advdetect.randomness import SampleGenerator


class Adversarial:
    """α L(x) + (1 − α) L(x'), x' crafted afresh for the weights of each step.

    Images are crafted in eval mode: without dropout, and with the running statistics of batch
    norm. Both losses are those of the training mode, of one batch each.

    Args:
        alpha: α in [0, 1]: 0.5 in Goodfellow et al., 0 in Madry et al.
        attack: Specification of an attack: ``_target_`` and its parameters.
    """

    def __init__(self, *, alpha: float, attack: Mapping[str, Any]) -> None:
        self._alpha = alpha
        parameters = {name: value for name, value in attack.items() if not name.startswith("_")}
        self._attack = partial(locate(attack["_target_"]), **parameters)

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the logits of the clean images, or of x' where α is zero."""
        seed = int(torch.randint(2**62, ()))
        model.eval()
        crafted = self._attack(
            model, images, labels, generator=SampleGenerator(seed, range(len(images)))
        )
        model.train()
        attacked = model(crafted.adversarial.detach())
        loss = functional.cross_entropy(attacked, labels)
        if self._alpha == 0:
            return loss, attacked
        logits = model(images)
        clean = functional.cross_entropy(logits, labels)
        return self._alpha * clean + (1 - self._alpha) * loss, logits
