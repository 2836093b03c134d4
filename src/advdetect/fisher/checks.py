"""What every Fisher computation demands of a model."""

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


def check_finite_gradient(gradient: Tensor) -> None:
    """Refuse gradients of the logits with respect to images, or what is made of them, that blew up.

    Raises:
        AdvdetectError: An entry is not finite.
    """
    if not torch.isfinite(gradient).all():
        raise AdvdetectError(
            "The gradient of the model's logits with respect to an image is not finite: look in "
            "the model for an operation without a derivative there."
        )
