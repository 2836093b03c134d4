"""What every Fisher computation demands of a model."""

from typing import Literal

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError


def check_eval_mode(model: nn.Module) -> None:
    """Refuse a model in training mode, where one image's logits may depend on another image.

    Raises:
        AdvdetectError: The model is in training mode.
    """
    if model.training:
        raise AdvdetectError(
            "Fisher information needs the model in evaluation mode: call model.eval() first."
        )


def check_finite_gradient(
    *values: Tensor, by: Literal["an image", "its weights"] = "an image"
) -> None:
    """Refuse gradients of the logits, or what is made of them, that blew up.

    Args:
        values: The gradients, or anything that is finite only where they are.
        by: What the logits are differentiated with respect to.

    Raises:
        AdvdetectError: An entry is not finite.
    """
    if not all(torch.isfinite(value).all() for value in values):
        raise AdvdetectError(
            f"The gradient of the model's logits with respect to {by} is not finite: look in "
            "the model for an operation without a derivative there."
        )
