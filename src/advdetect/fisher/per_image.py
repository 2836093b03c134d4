"""Derivatives of a module by its parameters, for every image of a batch, by torch.func."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp, vmap

from advdetect.fisher.tangents import ExplicitLayerNorm, differentiable_twice

Parameters = dict[str, Tensor]


@contextmanager
def without_hints() -> Iterator[None]:
    """Leave out PyTorch's hints at operations that it loops over: the caller knows it is slow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        yield


def per_image_gradients(module: nn.Module, inputs: Tensor, gradients: Tensor) -> Parameters:
    """Return the gradients of a module's parameters for every image, by torch.func.

    Args:
        module: A module that maps one tensor to one.
        inputs: (N, …).
        gradients: (N, R, …) at the output.

    Returns:
        (N, R, …) by the parameter's name, the first one of a parameter that has several.
    """
    parameters, output = _as_function(module)

    def one_image(image: Tensor, seeds: Tensor) -> Parameters:
        product = vjp(partial(output, image), parameters)[1]
        # A loop: a vmap inside the vmap gives wrong gradients of PReLU (PyTorch 2.15).
        rows = [product(seed)[0] for seed in seeds.unbind()]
        return {name: torch.stack([row[name] for row in rows]) for name in parameters}

    return vmap(one_image)(inputs, gradients)


def gradients_and_slopes(
    model: nn.Module, images: Tensor, seed: Tensor
) -> tuple[Parameters, Tensor]:
    """Return the weight gradient v of a linear form of the logits, and their derivatives along v.

    Args:
        model: Classifier in eval mode.
        images: (N, …).
        seed: (N, C), v = ∇_θ Σ_c seed_c z_c.

    Returns:
        (N, …) v by the parameter's name, constant; and (N, C) v·∇_θ z_c, which are differentiable
        by the images.
    """
    with differentiable_twice(), ExplicitLayerNorm(), without_hints():
        rows = per_image_gradients(model, images.detach(), seed[:, None])
        v = {name: row[:, 0].detach() for name, row in rows.items()}
        parameters, output = _as_function(model)

        def one_image(image: Tensor, direction: Parameters) -> Tensor:
            return jvp(partial(output, image), (parameters,), (direction,))[1]

        return v, vmap(one_image)(images, v)


def _as_function(module: nn.Module) -> tuple[Parameters, Callable[[Tensor, Parameters], Tensor]]:
    """Return a module's parameters, and its output for one input as a function of them."""
    parameters = {name: p.detach() for name, p in module.named_parameters()}
    names = _names_of_slots(module)

    def output(image: Tensor, values: Parameters) -> Tensor:
        slots = {slot: values[name] for slot, name in names.items()}
        # A clone, for a module that works in place. Ties are resolved here: functional_call's own
        # way does not restore the weights of a module that has two names (PyTorch 2.15).
        inputs = (image[None].clone(),)
        return functional_call(module, slots, inputs, tie_weights=False)[0]

    return parameters, output


def _names_of_slots(module: nn.Module) -> dict[str, str]:
    """Map every place that holds a parameter, each once, to the parameter's first name."""
    first = {parameter: name for name, parameter in module.named_parameters()}
    return {
        f"{prefix}.{name}".lstrip("."): first[parameter]
        for prefix, part in module.named_modules()
        for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False)
    }
