"""How many images fit into a budget of memory, from what one of them takes in the model."""

from contextlib import ExitStack
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from advdetect.models.guard import labels_only
from advdetect.requirements.memory import Need

#: Images at a time where memory would allow more, which are no faster.
MOST = 256
#: What the working memory of layers and the gradients on their way come to, beside what is held.
_WORKING = 1.5


class Row(NamedTuple):
    """What one image takes in a model.

    Attributes:
        held: Bytes of the outputs of its layers and of what a backward pass needs of them.
        image: Bytes of the image.
        classes: Number of its logits.
    """

    held: int
    image: int
    classes: int

    def bytes(self, need: Need) -> float:
        """Return about how many bytes a method takes for an image."""
        return _WORKING * need.rows * self.held + need.copies * self.image


def measured_row(model: nn.Module, image: Tensor) -> Row:
    """Pass an image through a model and count what is held of it.

    Args:
        model: Classifier that returns logits, in eval mode, its weights frozen.
        image: (1, C, H, W) float in [0, 1], on its device.
    """
    own = {
        values.untyped_storage().data_ptr() for values in chain(model.parameters(), model.buffers())
    }
    held: dict[int, Tensor] = {}

    def hold(values: Tensor) -> Tensor:
        pointer = values.untyped_storage().data_ptr()
        if pointer not in own:  # held on to, so that no other tensor can have its place
            held[pointer] = values.detach()
        return values.detach()

    def hold_output(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            hold(output)

    with_gradient = not labels_only(model)
    with ExitStack() as hooks:
        for module in model.modules():
            hooks.enter_context(module.register_forward_hook(hold_output))
        hooks.enter_context(saved_tensors_hooks(hold, lambda values: values))
        hooks.enter_context(torch.set_grad_enabled(with_gradient))
        logits = model(image.detach().clone().requires_grad_(with_gradient))
    size = sum(values.untyped_storage().nbytes() for values in held.values())
    return Row(held=size, image=image.nbytes, classes=logits.shape[1])


def images_within(budget: float, each: float) -> int:
    """Return how many images at a time stay within so many bytes; 0 where not even one does.

    Args:
        budget: Bytes.
        each: Bytes that an image takes, see `Row.bytes`.
    """
    return min(MOST, int(budget // each))
