"""What a classifier computes on the way to its logits, layer by layer, in a bounded width."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd

from advdetect.errors import AdvdetectError
from advdetect.features.activations import LOGITS, PENULTIMATE


def activations(
    model: nn.Module,
    images: Tensor,
    *,
    layers: Sequence[str] | None = None,
    max_width: int = 256,
) -> dict[str, Tensor]:
    """Return the hidden layers of each image and the logits, from one forward pass, differentiable.

    A hidden layer is the input of a linear or convolutional layer: what comes out of the
    nonlinearity and the pooling before it. The input of the last one that runs, which makes the
    logits, is the penultimate layer, whatever the modules are called.

    Wider layers are pooled, so that what is kept of an image has a bound: maps by average pooling
    to the largest square of positions that fits, or to averages of neighbouring channels where
    even one position does not; vectors to averages of neighbouring entries. The penultimate layer
    and the logits are kept whole.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        layers: Names of modules, as in ``model.named_modules()``, whose outputs to keep instead;
            None means the input of every linear and convolutional layer but the first.
        max_width: Numbers to keep of a layer, at most; at least 1.

    Returns:
        (N, d) by the layer's name in the order in which they ran, then ``penultimate`` and
        ``logits``. A layer that runs several times is named ``name#2`` and so on.

    Raises:
        AdvdetectError: ``max_width`` is below 1, a module does not exist, did not run or does not
            return one row per image, or there is no penultimate layer.
    """
    if not (isinstance(max_width, int) and max_width >= 1):
        raise AdvdetectError(f"activations.max_width must be at least 1, not {max_width}.")
    # Clones, because a later in-place ReLU would change what was seen.
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    modules = dict(model.named_modules())
    with ExitStack() as hooks:
        for name, module in modules.items():
            if isinstance(module, (nn.Linear, _ConvNd)):
                hooks.enter_context(module.register_forward_pre_hook(_keep_input(inputs, name)))
        for name in layers or ():
            if name not in modules:
                known = ", ".join(key for key in modules if key)
                raise AdvdetectError(
                    f"activations.layers: {type(model).__name__} has no module {name!r}; "
                    f"it has {known}."
                )
            hook = _keep_output(outputs, name)
            hooks.enter_context(modules[name].register_forward_hook(hook))
        logits = model(images)
    if not inputs:
        raise AdvdetectError(
            f"The hidden layers of {type(model).__name__} were not found: no linear or "
            "convolutional layer ran; features that use activations do not suit this model."
        )
    *hidden, last = inputs
    hidden_layers = {name: inputs[name] for name in hidden[1:]} if layers is None else outputs
    silent = sorted(set(layers or ()) - {name.partition("#")[0] for name in outputs})
    if silent:
        raise AdvdetectError(
            f"activations.layers: the module {silent[0]} of {type(model).__name__} did not run or "
            "returned no tensor: name another one."
        )
    found = {name: _pooled(value, max_width) for name, value in hidden_layers.items()}
    found |= {PENULTIMATE: inputs[last].flatten(1), LOGITS: logits}
    for name, value in found.items():
        if len(value) != len(images):
            raise AdvdetectError(
                f"The layer {name} of {type(model).__name__} does not have one row per image: "
                "name other modules in activations.layers."
            )
    return found


def _keep_input(seen: dict[str, Tensor], name: str) -> Any:
    def keep(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen[_unused(name, seen)] = inputs[0].clone()

    return keep


def _keep_output(seen: dict[str, Tensor], name: str) -> Any:
    def keep(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor):
            seen[_unused(name, seen)] = output.clone()

    return keep


def _unused(name: str, seen: dict[str, Tensor]) -> str:
    """Return the name, with the number of the call where it is not the first."""
    calls = sum(key.partition("#")[0] == name for key in seen)
    return f"{name}#{calls + 1}" if calls else name


def _pooled(values: Tensor, max_width: int) -> Tensor:
    """Return (N, d) with d at most ``max_width`` for (N, …) values."""
    width = values[0].numel() if len(values) else 0
    if width > max_width and values.ndim == 4:
        side = int((max_width / values.shape[1]) ** 0.5)
        height, breadth = values.shape[2:]
        size = (min(max(side, 1), height), min(max(side, 1), breadth))
        values = functional.adaptive_avg_pool2d(values, size)
    flat = values.flatten(1)
    if flat.shape[1] > max_width:
        flat = functional.adaptive_avg_pool1d(flat[:, None], max_width).squeeze(1)
    return flat
