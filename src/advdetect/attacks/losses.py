"""The losses that an attack may climb, by name."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from advdetect.attacks.gradient import error_log_odds
from advdetect.attacks.logits import margin
from advdetect.errors import AdvdetectError

Loss = Literal["ce", "dlr", "margin"]

#: Maps (N, C) logits and (N,) labels to (N,) losses.
LossFunction = Callable[[Tensor, Tensor], Tensor]


def loss_named(name: str) -> LossFunction:
    """Return the loss of a name.

    Args:
        name: "ce" ranks images as the cross entropy does and has its direction, but does not
            saturate (`gradient.error_log_odds`); "margin" is max_{i≠y} z_i − z_y (Carlini and
            Wagner 2017); "dlr" is `difference_of_logits_ratio`. The last two are above 0 exactly
            where the model is wrong.

    Raises:
        AdvdetectError: The loss is none of the three.
    """
    functions: dict[str, LossFunction] = {
        "ce": error_log_odds,
        "dlr": difference_of_logits_ratio,
        "margin": lambda logits, labels: -margin(logits, labels),
    }
    if name not in functions:
        raise AdvdetectError(
            f"The loss of an attack must be one of {', '.join(get_args(Loss))} (and of apgd also "
            f"dlr_targeted), not {name!r}."
        )
    return functions[name]


def difference_of_logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """Return −(z_y − max_{i≠y} z_i) / (z_π1 − z_π3), π the classes by falling logit.

    Croce and Hein 2020, equation (6): no shift and no scale of the logits changes it.

    Args:
        logits: (N, C), C at least 3.
        labels: (N,) int64 in [0, C).

    Returns:
        (N,) one value per image.

    Raises:
        AdvdetectError: There are fewer than 3 classes.
    """
    if logits.shape[1] < 3:
        raise AdvdetectError(
            f"The loss dlr needs at least 3 classes, not {logits.shape[1]}: take ce or margin."
        )
    largest = logits.topk(3, dim=1).values
    # The authors' guard, for logits that are all the same.
    return -margin(logits, labels) / (largest[:, 0] - largest[:, 2] + 1e-12)


def targeted_difference_of_logits_ratio(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Return −(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2), π the classes by falling logit.

    Croce and Hein 2020, equation (7): no shift and no scale of the logits changes it.

    Args:
        logits: (N, C), C at least 4.
        labels: (N,) int64 in [0, C).
        targets: (N,) int64 in [0, C), t of each image.

    Returns:
        (N,) one value per image.

    Raises:
        AdvdetectError: There are fewer than 4 classes.
    """
    if logits.shape[1] < 4:
        raise AdvdetectError(
            f"The loss dlr_targeted needs at least 4 classes, not {logits.shape[1]}: take ce or "
            f"margin."
        )
    own, aim = logits.gather(1, torch.stack([labels, targets], dim=1)).unbind(dim=1)
    largest = logits.topk(4, dim=1).values
    # The authors' guard, as above.
    return (aim - own) / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + 1e-12)


def logit_gradient(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the (N, C) gradient of each image's loss with respect to its own logits."""
    variable = logits.detach().requires_grad_()
    with torch.enable_grad():
        total = loss(variable, labels).sum()
    return torch.autograd.grad(total, variable)[0]
