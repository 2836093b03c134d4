"""Gram matrices of weight gradients from the gradients themselves: slower, for any model.

Both classes have the interface of `advdetect.fisher.capture.LayerRecording`: ``logits``,
``signature``, ``parameter_grams`` and ``slopes``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advdetect.fisher.capture import differentiate, gradients_of
from advdetect.fisher.gram import Grams, gram
from advdetect.fisher.per_image import gradients_and_slopes, per_image_gradients, without_hints
from advdetect.fisher.tangents import differentiable_twice
from advdetect.inference import batch_slices

#: Gradient entries that may exist at once (float32: 512 MB); one image's are needed in any case.
GRADIENT_ENTRIES = 2**27


class _WholeModel:
    """A model and the images that its weight gradients are for, seen from outside.

    Args:
        model: Classifier in eval mode; it is left as found.
        images: (N, C, H, W) float.
    """

    signature: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self._model, self._images = model, images.detach()
        with torch.no_grad():
            self.logits: Tensor = model(self._images.clone())  # a first layer may work in place


class VectorizedGradients(_WholeModel):
    """Per-image weight gradients of a whole model by torch.func."""

    description = "per-image gradients of all weights by torch.func"

    def parameter_grams(self, seeds: Tensor) -> Grams:
        """Return (N, R, R) float64 Gram matrices for (R, N, C) seeds, by the parameter's name."""
        with without_hints():
            batches = [
                per_image_gradients(self._model, self._images[rows], seeds[:, rows].transpose(0, 1))
                for rows in self._batches(len(seeds))
            ]
        names = [name for name, _ in self._model.named_parameters()]
        return {name: torch.cat([gram(batch[name]) for batch in batches]) for name in names}

    def slopes(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, C) v·∇_θ z_c and (N,) float64 v·v, v = ∇_θ Σ_c seed_c z_c for (N, C) seeds."""
        slopes, squared_lengths = [], []
        for rows in self._batches(1):
            v, part = gradients_and_slopes(self._model, self._images[rows], seed[rows])
            slopes.append(part.detach())
            squared_lengths.append(torch.stack([gram(p[:, None])[:, 0, 0] for p in v.values()]))
        return torch.cat(slopes), torch.cat([part.sum(dim=0) for part in squared_lengths])

    def _batches(self, seeds: int) -> Iterator[slice]:
        """Yield as many images at a time as the gradients of so many seeds leave room for."""
        size = sum(p.numel() for p in self._model.parameters()) * seeds
        return batch_slices(len(self._images), max(1, GRADIENT_ENTRIES // size))


class LoopedGradients(_WholeModel):
    """The same by plain autograd, one image and seed at a time."""

    description = "a loop over images and classes"

    def parameter_grams(self, seeds: Tensor) -> Grams:
        """Return (N, R, R) float64 Gram matrices for (R, N, C) seeds, by the parameter's name."""
        parameters = dict(self._model.named_parameters())
        grams: dict[str, list[Tensor]] = {name: [] for name in parameters}
        for image, image_seeds in zip(self._images, seeds.transpose(0, 1), strict=True):
            gradients = weight_gradients(self._model, image[None], image_seeds[:, None])
            for name, *rows in zip(parameters, *gradients, strict=True):
                grams[name].append(gram(torch.stack(rows)[None]))
        return {name: torch.cat(matrices) for name, matrices in grams.items()}

    def slopes(self, seed: Tensor) -> tuple[Tensor, Tensor]:
        """Return (N, C) v·∇_θ z_c and (N,) float64 v·v, v = ∇_θ Σ_c seed_c z_c for (N, C) seeds."""
        parts = [
            self._slopes(image[None], row[None])
            for image, row in zip(self._images, seed, strict=True)
        ]
        slopes, squared_lengths = zip(*parts, strict=True)
        return torch.cat(slopes), torch.cat(squared_lengths)

    def _slopes(self, image: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        with _all_differentiable(self._model) as parameters, torch.enable_grad():
            with differentiable_twice():
                logits = self._model(image.clone())
            seed = seed.detach().requires_grad_()
            gradients = gradients_of((seed * logits).sum(dim=1), parameters, create_graph=True)
            products = [(part * part.detach()).sum() for part in gradients if part is not None]
            zero = torch.zeros(1, dtype=torch.float64, device=image.device)
            squared_length = sum(products, start=zero)
        return differentiate(squared_length, seed), squared_length.detach()


def weight_gradients(model: nn.Module, image: Tensor, seeds: Tensor) -> list[tuple[Tensor, ...]]:
    """Return the gradients of linear forms of one image's logits, by plain autograd.

    Args:
        model: Classifier in eval mode; frozen parameters count too, and stay frozen.
        image: (1, C, H, W) float.
        seeds: (R, 1, C) gradients at the logits.

    Returns:
        For each seed one tensor per parameter; zero where a parameter has no part in the logits.
    """
    with _all_differentiable(model) as parameters, torch.enable_grad():
        logits = model(image.clone())
        if not logits.requires_grad:
            return [tuple(torch.zeros_like(p) for p in parameters) for _ in seeds]
        return [
            torch.autograd.grad(logits, parameters, seed, retain_graph=True, materialize_grads=True)
            for seed in seeds
        ]


@contextmanager
def _all_differentiable(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Let all parameters require gradients for a while."""
    parameters = list(model.parameters())
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield parameters
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)
