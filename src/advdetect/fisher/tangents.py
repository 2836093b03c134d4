"""Layers whose gradient can itself be differentiated at the price of one forward pass.

A product J·v with the Jacobian of a model is the derivative of the gradient Jᵀw by w. PyTorch's own
second derivatives compute more than that: of a convolution also the part that belongs to the
weight's gradient, of batch norm all parts of its formula in training. On a ResNet-18 that is two
thirds of the time of J·v (measured with PyTorch 2.15). And of the hard sigmoid it has none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.grad import conv2d_input

from advdetect.fisher.overrides import Function, Overrides


class TwiceDifferentiable(Overrides):
    """Within this context, the hard sigmoid can be differentiated twice.

    It is ReLU6((x + 3))/6; PyTorch's own function has no second derivative, so that MobileNet v3
    had none.
    """

    def call(self, func: Function, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Replace the hard sigmoid; pass everything else on."""
        if func is not functional.hardsigmoid:
            return super().call(func, args, kwargs)
        (images,) = args
        output = functional.relu6(images + 3) / 6
        return images.copy_(output) if kwargs.get("inplace") else output


class ExplicitLayerNorm(TwiceDifferentiable):
    """Within this context, torch.func differentiates layer norm in forward mode and then backward.

    The derivative of PyTorch's own function takes mean and variance as constants there.
    """

    def call(self, func: Function, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Replace layer norm; pass everything else on."""
        if func is not functional.layer_norm:
            return super().call(func, args, kwargs)
        return _layer_norm(*args, **kwargs)


class FastTangents(TwiceDifferentiable):
    """Within this context, convolutions and batch norm are differentiable by their input, twice.

    Weights get no gradient from these convolutions: use it where only products with the Jacobian
    of the logits with respect to the images are wanted.
    """

    def call(self, func: Function, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Replace the calls that are covered; pass everything else on."""
        if func is torch.conv2d and not kwargs and _is_covered(*args):
            images, weight, bias = args[:3]
            return _Convolution.apply(images, weight, bias, args[3:])
        if func is functional.batch_norm and kwargs.get("training") is False:
            images, mean, variance = args
            weight, bias, epsilon = kwargs["weight"], kwargs["bias"], kwargs["eps"]
            return _affine_batch_norm(images, mean, variance, weight, bias, epsilon)
        return super().call(func, args, kwargs)


@contextmanager
def differentiable_twice() -> Iterator[None]:
    """Do attention by plain products, since fused kernels cannot be differentiated twice.

    The fast path of `nn.MultiheadAttention` is taken where no gradient is seen, as in forward mode.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), TwiceDifferentiable():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _is_covered(images: Tensor, weight: Tensor, *options: Any) -> bool:
    """Say whether these are the arguments of `nn.Conv2d` for a batch of images.

    One-channel images are left to `advdetect.fisher.convolution.FastInputGradient`.
    """
    return (
        images.ndim == 4
        and images.shape[1] > 1
        and weight.grad_fn is None  # a weight computed from the image counts
        and len(options) == 5
        and (options[0] is None or options[0].grad_fn is None)
        and isinstance(options[2], tuple)  # not "same"
    )


class _Convolution(torch.autograd.Function):
    """A convolution; its gradient by the input is `_InputGradient`."""

    @staticmethod
    def forward(
        ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, options: tuple
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.options, ctx.shape = options, images.shape
        return functional.conv2d(images, weight, bias, *options)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return _InputGradient.apply(gradient, weight, ctx.shape, ctx.options), None, None, None


class _InputGradient(torch.autograd.Function):
    """The transposed convolution; its own derivative is the convolution without the bias."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, weight: Tensor, shape: torch.Size, options: tuple
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.options = options
        return conv2d_input(shape, weight, gradient, *options)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return functional.conv2d(tangent, weight, None, *ctx.options), None, None, None


def _layer_norm(
    images: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centred = images - images.mean(axes, keepdim=True)
    output = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    output = output if weight is None else output * weight
    return output if bias is None else output + bias


def _affine_batch_norm(
    images: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
) -> Tensor:
    """Return batch norm in eval mode as the affine map that it is."""
    scale = (variance + epsilon).rsqrt()
    scale = scale if weight is None else weight * scale
    shift = -mean * scale if bias is None else bias - mean * scale
    shape = (-1, *[1] * (images.ndim - 2))
    return torch.addcmul(shift.view(shape), images, scale.view(shape))
