"""Layers that do what a call of a function does, and self-attention as calls of such functions."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.fisher.overrides import Function

_Layer = nn.Module | None


def stand_in(func: Function, *args: Any, **kwargs: Any) -> _Layer:
    """Return a layer that does what a call of a function does, with the parameters of the call.

    Args:
        func: The function.
        args: What it is called with.
        kwargs: The same by name.

    Returns:
        The layer, or None where there is no such one, as for a computed weight.
    """
    make = _LAYERS.get(func)
    return None if make is None or not args else make(*args, **kwargs)


def _linear(_values: Tensor, weight: Tensor, bias: Tensor | None = None) -> _Layer:
    return _with(nn.Linear(weight.shape[1], weight.shape[0], device="meta"), weight, bias)


def _convolution(kind: Callable[..., nn.Module]) -> Callable[..., _Layer]:
    def layer(
        _values: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> _Layer:
        sizes = weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:])
        made = kind(*sizes, stride, padding, dilation, groups, device="meta")
        return _with(made, weight, bias)

    return layer


def _batch_norm(
    _values: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> _Layer:
    if training or running_mean is None or weight is None:
        return None
    layer = nn.BatchNorm2d(len(weight), eps, device="meta")
    layer.running_mean, layer.running_var = running_mean, running_var
    return _with(layer, weight, bias)


def _layer_norm(
    _values: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> _Layer:
    return _with(nn.LayerNorm(list(normalized_shape), eps, device="meta"), weight, bias)


def _with(layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> _Layer:
    """Give a layer the parameters of a call, if they are such."""
    if not isinstance(weight, nn.Parameter) or not isinstance(bias, nn.Parameter | None):
        return None
    layer.register_parameter("weight", weight)
    layer.register_parameter("bias", bias)
    return layer.eval()


_LAYERS: dict[Function, Callable[..., _Layer]] = {
    functional.linear: _linear,
    torch.conv1d: _convolution(nn.Conv1d),
    torch.conv2d: _convolution(nn.Conv2d),
    torch.conv3d: _convolution(nn.Conv3d),
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
}


def is_self_attention(
    query: Tensor, key: Tensor, value: Tensor, _size: int, _heads: int, *args: Any, **kwargs: Any
) -> bool:
    """Say whether `self_attention` covers a call of `multi_head_attention_forward`."""
    weight, _bias, bias_k, bias_v, add_zero, *_ = args
    plain = bias_k is None and bias_v is None and not add_zero and weight is not None
    masks = ("key_padding_mask", "attn_mask", "static_k", "static_v")
    return (
        query is key is value
        and query.ndim == 3
        and plain
        and all(kwargs.get(name) is None for name in masks)
        and not kwargs.get("is_causal")
    )


def self_attention(
    query: Tensor,
    _key: Tensor,
    _value: Tensor,
    _size: int,
    heads: int,
    weight: Tensor,
    bias: Tensor | None,
    _bias_k: None,
    _bias_v: None,
    _add_zero: bool,
    _dropout: float,
    out_weight: Tensor,
    out_bias: Tensor | None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Do what `multi_head_attention_forward` does in eval mode, by two linear layers of images.

    Args:
        query: (T, N, E) tokens; key and value are the same.
        heads: Their number.
        weight: (3 E, E) of queries, keys and values, with its bias.
        bias: (3 E,) or None.
        out_weight: (E, E) behind the heads, with its bias.
        out_bias: (E,) or None.
        options: As of the function: whether attention is returned, too, and as a mean of the heads.

    Returns:
        (T, N, E), and the attention or None.
    """
    tokens = query.transpose(0, 1)
    parts = functional.linear(tokens, weight, bias).unflatten(2, (3, heads, -1))
    q, k, v = parts.permute(2, 0, 3, 1, 4)  # (N, heads, T, E / heads) each
    attention = (q @ k.mT / q.shape[3] ** 0.5).softmax(dim=3)
    mixed = (attention @ v).transpose(1, 2).flatten(2)
    output = functional.linear(mixed, out_weight, out_bias).transpose(0, 1)
    if not options.get("need_weights", True):
        return output, None
    return output, attention.mean(dim=1) if options.get("average_attn_weights", True) else attention
