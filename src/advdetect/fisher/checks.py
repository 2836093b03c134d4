"""What every Fisher computation demands of a model."""

from torch import nn

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
