"""What an attack costs: rows that pass through the model, counted at the model itself.

So it is counted in one way for all attacks, whoever wrote them, and nothing is left out: the passes
of a lane that is done, of a step that is taken back, of a graph that is recorded again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass
class Passes:
    """Rows that went through a model; a row is an image, or a lane of an attack.

    Attributes:
        forward: Rows of its outputs.
        backward: Rows of the gradients that went back through it, and of the derivatives of such
            gradients: a product with the Jacobian, or with the transposed one, is one for each row.
    """

    forward: int = 0
    backward: int = 0

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Passes":
        """Return this one: what goes through a copy of the model counts as well."""
        return self

    def _after_forward(self, _model: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> None:
        self.forward += len(output)
        if output.grad_fn is not None:
            number = output.output_nr
            # Of the node and not of the output: a gradient that is asked for of the logits alone
            # goes through no model.
            output.grad_fn.register_prehook(lambda gradients: self._before(gradients[number]))

    def _before(self, gradient: Tensor | None) -> None:
        if gradient is None:
            return
        self._back(gradient)
        if gradient.requires_grad:  # it is recorded, so that products with the Jacobian follow
            gradient.register_hook(self._back)

    def _back(self, rows: Tensor) -> None:
        self.backward += len(rows)


@contextmanager
def counted_passes(model: nn.Module) -> Iterator[Passes]:
    """Count what goes through a model, or a copy that is made of it, while the block runs.

    No result changes. Passes through a part of the model are not seen; of passes that ``vmap`` or
    ``is_grads_batched`` make together one counts.

    Args:
        model: Takes and returns tensors whose rows are images.

    Yields:
        The counts, which go on until the block ends.
    """
    passes = Passes()
    hook = model.register_forward_hook(passes._after_forward)
    try:
        yield passes
    finally:
        hook.remove()
