"""Bayesian uncertainty: how much the prediction moves under dropout (Feinman et al. 2017)."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.models.replay import Replay
from advdetect.randomness import SampleGenerator

_CHANNELS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
_UNSUPPORTED = (nn.AlphaDropout, nn.FeatureAlphaDropout)

#: Below this the variance is made of the rounding of float64 probabilities, (1e-16)² and some.
_FLOOR = 1e-30

_DRAWN_AT_ONCE = 2**14  # random numbers per image and layer


@torch.no_grad()
def bu(
    model: nn.Module, images: Tensor, *, generator: SampleGenerator, passes: int = 50
) -> dict[str, Tensor]:
    """Return the log10 of the mean over classes of the variance of p over dropout passes.

    Feinman et al. 2017, section 4.2: the variance of the class probabilities over T stochastic
    passes (divided by T, as theirs), averaged over the classes. Only the dropout layers are
    stochastic: the model stays in eval mode, so batch norm is untouched, and hooks multiply the
    output of each dropout layer by a mask of its own for every image. What a pass computes before
    the first of them is the same in all, and computed once. The logarithm, with a floor of 1e-30,
    because the variance spans many decades; it changes no ranking.

    Args:
        model: Classifier that returns logits, in eval mode, with dropout layers (``nn.Dropout``
            and its 1d, 2d and 3d forms; dropout that the model calls as a function is not seen).
        images: (N, C, H, W) float32 in [0, 1].
        generator: One stream per image, for the masks.
        passes: T, at least 2.

    Returns:
        Column ``log10_variance``: (N,) float64 on the CPU, in [-30, 0).

    Raises:
        AdvdetectError: The model has no dropout layer that drops anything, or one of a kind that
            is not supported.
    """
    layers = _dropout_layers(model)
    with ExitStack() as hooks:
        for layer in layers:
            hooks.enter_context(layer.register_forward_hook(_drop_with(generator, passes)))
        logits = torch.stack(list(Replay(model, layers, images).run(passes))).cpu().double()
    variance = logits.softmax(dim=2).var(dim=0, correction=0).mean(dim=1)
    return {"log10_variance": variance.clamp_min(_FLOOR).log10()}


def _dropout_layers(model: nn.Module) -> list[nn.Module]:
    """Return the dropout layers of the model that drop something."""
    layers: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, (nn.Dropout, *_CHANNELS)) and module.p > 0:
            layers.append(module)
        elif isinstance(module, _UNSUPPORTED) and module.p > 0:
            raise AdvdetectError(
                f"The feature bu does not support {type(module).__name__}, which "
                f"{type(model).__name__} contains: choose a model with Dropout or remove the "
                "feature bu."
            )
    if not layers:
        raise AdvdetectError(
            f"{type(model).__name__} has no dropout layer: choose a model with dropout (a "
            "probability above 0) or remove the feature bu."
        )
    return layers


def _drop_with(
    generator: SampleGenerator, passes: int
) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """Return a forward hook that does what one dropout layer does in training mode.

    The numbers of several passes are drawn at once, since a draw costs more than its numbers. How
    many depends on the layer and never on the batch, or else the results would depend on it.
    """
    waiting: list[Tensor] = []

    def drop(layer: Any, _inputs: Any, output: Tensor) -> Tensor:
        shape = output.shape[1:]
        if isinstance(layer, _CHANNELS):
            shape = torch.Size([*shape[:1], *[1] * len(shape[1:])])
        if not waiting:
            block = min(passes, max(1, _DRAWN_AT_ONCE // shape.numel()))
            waiting.extend(generator.uniform(block, *shape).unbind(1))
        keep = waiting.pop(0).to(output) >= layer.p
        # With p = 1 nothing is kept, and there is nothing to scale.
        return output * keep / (1 - layer.p if layer.p < 1 else 1)

    return drop
