"""Kernel density of the last hidden layer among the predicted class (Feinman et al. 2017)."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.penultimate import penultimate
from advdetect.inference import batch_slices
from advdetect.randomness import SampleGenerator

Bandwidth = float | Literal["auto"]

_ROWS = 8192  # training images whose distances are held at a time
_QUERIES = 512  # training images of a class that are left out in turn
_GRID = 30  # bandwidths tried


@torch.no_grad()
def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    bandwidth: Bandwidth = "auto",
    max_per_class: int | None = None,
    layer: str | None = None,
) -> dict[str, Tensor]:
    """Collect the hidden features of the training images, by class, and choose the bandwidth.

    The classes are those of the true labels, as in Feinman et al. 2017, section 4.1, also for
    training images that the model gets wrong.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 training images in [0, 1], on the CPU.
        labels: (N,) int64 true classes.
        batch_size: Images per forward pass.
        bandwidth: Standard deviation of the kernel, greater than 0, in units of the hidden layer;
            "auto" maximises the leave-one-out likelihood of the training features.
        max_per_class: Use only the first so many images of each class; None means all.
        layer: Module whose output to use; None means the input of the last layer.

    Returns:
        ``features`` (M, d) float32 sorted by class, ``counts`` (classes,) int64 rows of each class,
        and ``bandwidth`` (1,) float64, all on the CPU.

    Raises:
        AdvdetectError: A class has too few training images, or no bandwidth can be chosen.
    """
    device = next(chain(model.parameters(), model.buffers()), images).device
    rows = _rows_by_class(labels, max_per_class)
    chosen = torch.cat(rows)
    parts, classes = [], 0
    for part in batch_slices(len(chosen), batch_size):
        features, logits = penultimate(model, images[chosen[part]].to(device), layer)
        parts.append(features.float().cpu())
        classes = logits.shape[1]
    counts = torch.tensor([len(row) for row in rows] + [0] * (classes - len(rows)))
    least = 2 if bandwidth == "auto" else 1
    if bool((counts < least).any()):
        raise AdvdetectError(
            f"The feature kd needs at least {least} training images of every class, and class "
            f"{int(counts.argmin())} has {int(counts.min())}: use more training images or remove "
            "the feature kd."
        )
    all_features = torch.cat(parts)
    if bandwidth == "auto":
        bandwidth = leave_one_out_bandwidth(all_features.split(counts.tolist()))
    return {
        "features": all_features,
        "counts": counts,
        "bandwidth": torch.tensor([bandwidth], dtype=torch.float64),
    }


@torch.no_grad()
def kd(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    fitted: dict[str, Tensor],
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
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: Not used; the feature is deterministic.
        fitted: What `fit` returned for this model.
        bandwidth: Was settled by `fit`; taken from ``fitted``.
        max_per_class: Was settled by `fit`.
        layer: As in `fit`.

    Returns:
        Column ``log_density``: (N,) float64 natural logarithms on the CPU.
    """
    features, logits = penultimate(model, images, layer)
    predicted = logits.argmax(dim=1)
    classes = fitted["features"].split(fitted["counts"].tolist())
    result = torch.empty(len(images), dtype=torch.float64)
    for label in predicted.unique().tolist():
        members = predicted == label
        result[members.cpu()] = log_kernel_density(
            features[members], classes[label], float(fitted["bandwidth"])
        ).cpu()
    return {"log_density": result}


def log_kernel_density(queries: Tensor, samples: Tensor, bandwidth: float) -> Tensor:
    """Return the log of a Gaussian kernel density estimate.

    Args:
        queries: (n, d) points.
        samples: (m, d) points that carry a kernel each, m at least 1.
        bandwidth: Standard deviation of the kernel, greater than 0.

    Returns:
        (n,) float64 on the device of the queries.
    """
    queries = queries.double()
    total = queries.new_full((len(queries),), -torch.inf)
    for rows in batch_slices(len(samples), _ROWS):
        squares = torch.cdist(queries, samples[rows].to(queries)).square()
        total = total.logaddexp((-squares / (2 * bandwidth**2)).logsumexp(dim=1))
    return total - math.log(len(samples)) - _log_normalizer(queries.shape[1], bandwidth)


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
        [
            torch.stack([squares.amin(dim=1), squares.amax(dim=1)], dim=1)
            for squares in _squares_to_others(classes)
        ]
    )
    low, high = (extremes.mean(dim=0) / dimensions).sqrt().tolist()
    if not low > 1e-6 * high:
        raise AdvdetectError(
            "No bandwidth can be chosen for the feature kd, since nearly every training image has "
            "a duplicate in the hidden layer: set a number as bandwidth or name another layer."
        )
    grid = torch.logspace(math.log10(low), math.log10(high), _GRID, dtype=torch.float64).tolist()
    scores = torch.zeros(len(grid), dtype=torch.float64)
    for squares in _squares_to_others(classes):
        for position, bandwidth in enumerate(grid):
            kernels = (-squares / (2 * bandwidth**2)).logsumexp(dim=1)
            # The number of kernels is the same for every bandwidth and is left out.
            scores[position] += (kernels - _log_normalizer(dimensions, bandwidth)).sum()
    return grid[int(scores.argmax())]


def _rows_by_class(labels: Tensor, max_per_class: int | None) -> list[Tensor]:
    """Return the rows of each class from 0 to the largest label, in their order."""
    return [
        (labels == label).nonzero().squeeze(1)[:max_per_class]
        for label in range(int(labels.max()) + 1)
    ]


def _squares_to_others(classes: Sequence[Tensor]) -> Iterator[Tensor]:
    """Yield (q, n_c − 1) squared distances from images of a class to the others of that class."""
    for samples in (features.double() for features in classes):
        left_out = samples[:_QUERIES]
        squares = torch.cdist(left_out, samples).square()
        others = ~torch.eye(*squares.shape, dtype=torch.bool)
        yield squares[others].view(len(left_out), len(samples) - 1)


def _log_normalizer(dimensions: int, bandwidth: float) -> float:
    """Return the log of the integral of exp(−‖u‖² / 2h²)."""
    return dimensions / 2 * math.log(2 * math.pi * bandwidth**2)
