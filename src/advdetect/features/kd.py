"""Kernel density of the last hidden layer among the predicted class (Feinman et al. 2017)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.activations import (
    LOGITS,
    PENULTIMATE,
    Activations,
    count_classes,
    layer_values,
)
from advdetect.features.numerics import squared_distances
from advdetect.randomness import SampleGenerator
from advdetect.requirements.classes import least_for_density

Bandwidth = float | Literal["auto"]

_QUERIES = 512  # training images of a class that are left out in turn
_GRID = 30  # bandwidths tried


def fit(
    activations: Activations,
    labels: Tensor,
    *,
    bandwidth: Bandwidth = "auto",
    max_per_class: int | None = None,
    layer: str | None = None,
) -> dict[str, Tensor]:
    """Sort the hidden features of the training images by class and choose the bandwidth.

    The classes are those of the true labels, as in Feinman et al. 2017, section 4.1, also for
    training images that the model gets wrong.

    Args:
        activations: (N, d) of the training images, by layer.
        labels: (N,) int64 true classes.
        bandwidth: Standard deviation of the kernel, greater than 0, in units of the hidden layer;
            "auto" maximises the leave-one-out likelihood of the training features.
        max_per_class: Use only the first so many images of each class; None means all.
        layer: Layer to use; None means the penultimate one.

    Returns:
        ``features`` (M, d) sorted by class, ``counts`` (classes,) int64 rows of each class,
        and ``bandwidth`` (1,) float64.

    Raises:
        AdvdetectError: There is no such layer, a class has too few training images, or no
            bandwidth can be chosen.
    """
    features = layer_values(activations, layer or PENULTIMATE, "kd")
    least = least_for_density(bandwidth)
    classes = len(count_classes(activations, labels, "kd", least))
    members = [features[labels == label][:max_per_class] for label in range(classes)]
    if bandwidth == "auto":
        bandwidth = leave_one_out_bandwidth(members)
    return {
        "features": torch.cat(members),
        "counts": torch.tensor([len(rows) for rows in members]),
        "bandwidth": torch.tensor([bandwidth], dtype=torch.float64),
    }


def kd(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    activations: Activations,
    fitted: Mapping[str, Tensor],
    bandwidth: Bandwidth = "auto",
    max_per_class: int | None = None,
    layer: str | None = None,
) -> dict[str, Tensor]:
    """Return the log density of each image's hidden features among its predicted class.

    Feinman et al. 2017, section 4.1: the Gaussian kernel density estimate at φ(x) from the
    training features of the predicted class. The kernel is the normal density,
    (2π h²)^(−d/2) exp(−‖φ − φ_i‖² / 2h²), as in scikit-learn, with which their bandwidths were
    found. Summed as logarithms, so the value is finite where every kernel underflows.

    Args:
        model: Not used.
        images: Not used.
        generator: Not used; the feature is deterministic.
        activations: (N, d) by layer, and the (N, classes) logits.
        fitted: What `fit` returned for this model.
        bandwidth: Was settled by `fit`; taken from ``fitted``.
        max_per_class: Was settled by `fit`.
        layer: As in `fit`.

    Returns:
        Column ``log_density``: (N,) float64 natural logarithms.

    Raises:
        AdvdetectError: There is no such layer.
    """
    features = layer_values(activations, layer or PENULTIMATE, "kd")
    predicted = activations[LOGITS].argmax(dim=1)
    classes = fitted["features"].split(fitted["counts"].tolist())
    result = features.new_empty(len(features), dtype=torch.float64)
    for label in predicted.unique().tolist():
        members = predicted == label
        result[members] = log_kernel_density(
            features[members], classes[label], fitted["bandwidth"].item()
        )
    return {"log_density": result}


def log_kernel_density(queries: Tensor, samples: Tensor, bandwidth: float) -> Tensor:
    """Return the log of a Gaussian kernel density estimate.

    Args:
        queries: (n, d) points.
        samples: (m, d) points that carry a kernel each, m at least 1.
        bandwidth: Standard deviation of the kernel, greater than 0.

    Returns:
        (n,) float64.
    """
    sums = [
        (squares / (-2 * bandwidth**2)).logsumexp(dim=1)
        for _, squares, _ in squared_distances(queries, samples)
    ]
    return torch.cat(sums) - math.log(len(samples)) - _log_normalizer(queries.shape[1], bandwidth)


def leave_one_out_bandwidth(classes: Sequence[Tensor]) -> float:
    """Choose the bandwidth of the largest leave-one-out likelihood within the classes.

    At the maximum, d h² is a mean over images of weighted means of squared distances to the other
    images of the class. So it lies between the mean squared distances to the nearest and to the
    furthest one, and 30 values in even ratios between the two are tried. At most the first 512
    images of a class are left out in turn, each against all the others.

    Args:
        classes: (n_c, d) features of each class, n_c at least 2.

    Returns:
        The bandwidth, in units of the features.

    Raises:
        AdvdetectError: The features are all duplicates, so that the likelihood has no maximum.
    """
    dimensions = classes[0].shape[1]
    extremes = torch.cat(
        [torch.stack(squares.aminmax(dim=1), dim=1) for squares in _squares_to_others(classes)]
    )
    low, high = (extremes.mean(dim=0) / dimensions).sqrt().tolist()
    if not low > 1e-6 * high:
        raise AdvdetectError(
            "No bandwidth can be chosen for the feature kd, since nearly every training image has "
            "a duplicate in the hidden layer: set a number as bandwidth or name another layer."
        )
    grid = torch.logspace(math.log10(low), math.log10(high), _GRID, dtype=torch.float64).tolist()
    scores = [0.0] * _GRID
    for squares in _squares_to_others(classes):
        for position, bandwidth in enumerate(grid):
            kernels = (squares / (-2 * bandwidth**2)).logsumexp(dim=1)
            # The number of kernels is the same for every bandwidth and is left out.
            scores[position] += float((kernels - _log_normalizer(dimensions, bandwidth)).sum())
    return grid[scores.index(max(scores))]


def _squares_to_others(classes: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield (q, n_c − 1) squared distances from images of a class to the others of that class."""
    for samples in classes:
        for rows, squares, _ in squared_distances(samples[:_QUERIES], samples):
            others = torch.arange(rows.start, rows.stop)[:, None] != torch.arange(len(samples))
            yield squares[others].view(len(squares), len(samples) - 1)


def _log_normalizer(dimensions: int, bandwidth: float) -> float:
    """Return the log of the integral of exp(−‖u‖² / 2h²)."""
    return dimensions / 2 * math.log(2 * math.pi * bandwidth**2)
