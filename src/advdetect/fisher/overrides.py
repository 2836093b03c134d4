"""Replacing some of PyTorch's functions while a model runs."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

Function = Callable[..., Any]


class Overrides(TorchFunctionMode):
    """Within this context every function of PyTorch is called by `call`."""

    def __torch_function__(
        self,
        func: Function,
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Hand a call to `call`; what is called within it is not seen."""
        return self.call(func, args, kwargs or {})

    def call(self, func: Function, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Return what a function returns; a subclass replaces those that it covers."""
        return func(*args, **kwargs)
