"""Calling features of activations with NumPy arrays, which the references of tests are made of."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advdetect.randomness import SampleGenerator

Arrays = Mapping[str, np.ndarray]


def tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def of_arrays(feature: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, np.ndarray]]:
    """Return a feature that takes and returns arrays; the model and the images are not used."""

    def compute(activations: Arrays, *, fitted: Arrays | None = None, **params: Any):
        if fitted is not None:
            params["fitted"] = tensors(fitted)
        streams, values = SampleGenerator(0, []), tensors(activations)
        columns = feature(
            nn.Identity(), torch.empty(0), generator=streams, activations=values, **params
        )
        return {name: values.numpy() for name, values in columns.items()}

    return compute


def fit_of_arrays(fit: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, np.ndarray]]:
    """Return a fit that takes and returns arrays."""

    def compute(activations: Arrays, labels: np.ndarray, **params: Any):
        fitted = fit(tensors(activations), torch.from_numpy(labels), **params)
        return {name: values.numpy() for name, values in fitted.items()}

    return compute
