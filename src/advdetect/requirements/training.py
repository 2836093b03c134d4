"""What a model needs: weights, or how to train them."""

from collections.abc import Mapping
from typing import Any

from advdetect.errors import AdvdetectError


def check_source_of_weights(model: Mapping[str, Any]) -> None:
    """Refuse the specification of a model that has neither weights nor a training.

    Raises:
        AdvdetectError: It has neither.
    """
    if not model.get("weights") and not model.get("training"):
        raise AdvdetectError(
            "model: there is neither model.weights, a file, nor model.training, how to train: give "
            "one of them."
        )
