"""What a model does with the parameters of modules that have no layer rule of their own.

A subclass of a convolution, batch norm with an activation behind it, self-attention, class tokens
and positions: the module is of a kind of its own, but its parameters meet the data in one of a few
functions. These are recorded as layers that have a rule.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.fisher.gram import ImageCopies
from advdetect.fisher.overrides import Function, Overrides
from advdetect.fisher.stand_ins import is_self_attention, self_attention, stand_in

#: Takes a layer, its input and its output, and returns the output to go on with.
Record = Callable[[nn.Module, Tensor, Tensor], Tensor]

#: Of two tensors, entry by entry.
_ELEMENTWISE = {
    *(torch.add, Tensor.add, Tensor.add_),
    *(torch.sub, Tensor.sub, Tensor.sub_),
    *(torch.mul, Tensor.mul, Tensor.mul_),
}


class ParameterUses(Overrides):
    """Within this context, what is done with some parameters is recorded.

    Args:
        parameters: Which.
        count: N, the number of images.
        record: Called with every layer that is found.

    Attributes:
        otherwise: Parameters that are used in a way that is no layer's.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], count: int, record: Record) -> None:
        super().__init__()
        self._watched, self._count, self._record = set(parameters), count, record
        self._layers: dict[Tensor, nn.Module] = {}
        self._copies_of: dict[nn.Module, Tensor] = {}
        self.otherwise: set[Tensor] = set()

    @property
    def recorded(self) -> set[Tensor]:
        """Parameters whose uses are all known, and those of the layers that they are in."""
        layers = self._layers.items()
        return {p for p, layer in layers if self.otherwise.isdisjoint(layer.parameters())}

    def call(self, func: Function, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Record a call that takes such parameters; pass everything else on."""
        used = {value for value in _tensors((args, kwargs)) if value in self._watched}
        if not used:
            return func(*args, **kwargs)
        if func is functional.multi_head_attention_forward and is_self_attention(*args, **kwargs):
            with self:
                return self_attention(*args, **kwargs)
        layer = stand_in(func, *args, **kwargs)
        if layer is not None and set(layer.parameters()) == used and self._fits(args[0]):
            return self._record(self._known(layer), args[0], func(*args, **kwargs))
        copied = self._copied(func, args)
        if copied is not None:
            return func(*copied, **kwargs)
        output = func(*args, **kwargs)
        if list(_tensors(output)):  # and not a shape
            self.otherwise |= used
        return output

    def _fits(self, values: Tensor) -> bool:
        return len(values) == self._count

    def _known(self, layer: nn.Module) -> nn.Module:
        """Return the layer that has been there before, as gradients of one parameter add up."""
        parameters = list(layer.parameters())
        known = self._layers.get(parameters[0], layer)
        same = str(known) == str(layer) and all(
            one is other for one, other in zip(known.buffers(), layer.buffers(), strict=True)
        )
        for parameter in parameters:
            if self._layers.setdefault(parameter, known) is not known or not same:
                self.otherwise.add(parameter)
        return known

    def _copied(self, func: Function, args: tuple) -> tuple | None:
        """Give each image its own copy of a parameter that meets images entry by entry."""
        if func is Tensor.expand:
            parameter, *sizes = args
            shape = sizes[0] if len(sizes) == 1 else sizes
            if len(parameter) != 1 or len(shape) != parameter.ndim or shape[0] != self._count:
                return None
            return self._copies(parameter).flatten(0, 1), tuple(shape)
        if func not in _ELEMENTWISE or len(args) != 2:
            return None
        (position, parameter), *others = (
            (i, value) for i, value in enumerate(args) if value in self._watched
        )
        values = args[1 - position]
        if others or not isinstance(values, Tensor) or not self._fits(values):
            return None
        if values.ndim == parameter.ndim and len(parameter) == 1:
            copies = self._copies(parameter).flatten(0, 1)
        elif values.ndim > parameter.ndim:
            between = [1] * (values.ndim - 1 - parameter.ndim)
            copies = self._copies(parameter).reshape(self._count, *between, *parameter.shape)
        else:
            return None
        return (copies, values) if position == 0 else (values, copies)

    def _copies(self, parameter: nn.Parameter) -> Tensor:
        """Return the (N, 1…) copies of a parameter, which are recorded once."""
        layer = self._known(ImageCopies(parameter))
        if layer not in self._copies_of:
            copies = parameter.detach()[None].expand(self._count, *parameter.shape)
            self._copies_of[layer] = self._record(layer, copies, copies)
        return self._copies_of[layer]


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
