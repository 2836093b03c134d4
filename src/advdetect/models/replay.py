"""Passes through a model that differ from some layers on: what comes before them runs once."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

_REMEMBERED = 2**28  # bytes of outputs; what goes beyond runs in every pass


class Replay:
    """Passes of one batch through a model in which some layers are random and all others are not.

    In each pass after the first, a module that runs before any random layer returns what it has
    returned in the first, which is what it would compute: nothing random has come to it yet.

    Args:
        model: In eval mode.
        random: Its random layers.
        batch: (N, …) what goes through it.
    """

    def __init__(self, model: nn.Module, random: Collection[nn.Module], batch: Tensor) -> None:
        self._model = model
        self._random = random
        self._batch = batch
        self._outputs: dict[int, Tensor] = {}
        self._free = _REMEMBERED
        self._calls = 0
        self._met_random = False

    def run(self, passes: int) -> Iterator[Tensor]:
        """Yield what the model returns in each pass."""
        with ExitStack() as undo:
            for layer in self._random:
                undo.enter_context(layer.register_forward_pre_hook(self._meet_random))
            for module in dict.fromkeys(_without(self._model, set(self._random))):
                before = vars(module).get("forward")
                module.forward = partial(self._forward, module.forward)
                undo.callback(_restore, module, before)
            for _ in range(passes):
                self._calls, self._met_random = 0, False
                yield self._model(self._batch)

    def _meet_random(self, _layer: nn.Module, _inputs: Any) -> None:
        self._met_random = True

    def _forward(self, compute: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
        if self._met_random:
            return compute(*inputs, **named)
        self._calls += 1
        if self._calls in self._outputs:
            return self._outputs[self._calls].clone()  # who gets it may write into it
        output = compute(*inputs, **named)
        if isinstance(output, Tensor) and output.numel() * output.element_size() <= self._free:
            self._free -= output.numel() * output.element_size()
            self._outputs[self._calls] = output.clone()
        return output


def _without(module: nn.Module, random: Collection[nn.Module]) -> Iterator[nn.Module]:
    """Yield the outermost modules that are called and hold no random layer."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    is_list = isinstance(module, nn.ModuleList | nn.ModuleDict)  # never called itself
    if not is_list and all(layer not in random for layer in module.modules()):
        yield module
        return
    for child in module.children():
        yield from _without(child, random)


def _restore(module: nn.Module, forward: Callable[..., Any] | None) -> None:
    """Give a module the ``forward`` that it had of its own, or that of its class."""
    del module.forward
    if forward is not None:
        module.forward = forward
