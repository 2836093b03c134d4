"""Distance to the k-th nearest training image in the last hidden layer (Sun et al. 2022)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from advdetect.features.activations import PENULTIMATE, Activations
from advdetect.features.numerics import nearest_distances
from advdetect.randomness import SampleGenerator
from advdetect.requirements.neighbours import check_neighbours
from advdetect.selection import evenly_spread


def fit(
    activations: Activations,
    labels: Tensor,
    *,
    neighbours: int = 50,
    normalize: bool = True,
    max_reference: int | None = None,
) -> dict[str, Tensor]:
    """Keep the penultimate layer of the training images, or of some evenly spread over them.

    Args:
        activations: (N, d) of the training images, by layer.
        labels: (N,) int64 true classes; not used.
        neighbours: k, from 1 to the number of images kept.
        normalize: Is heeded by `nearest_neighbour`.
        max_reference: Images to keep, at most; None means all.

    Returns:
        ``features``: (M, d).

    Raises:
        AdvdetectError: There are fewer images than k.
    """
    features = activations[PENULTIMATE]
    features = features[evenly_spread(len(features), max_reference)]
    check_neighbours("nearest_neighbour", neighbours, 1, len(features))
    return {"features": features}


def nearest_neighbour(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    activations: Activations,
    fitted: Mapping[str, Tensor],
    neighbours: int = 50,
    normalize: bool = True,
    max_reference: int | None = None,
) -> dict[str, Tensor]:
    """Return the distance ‖z − z_(k)‖₂ to the k-th nearest training image.

    Sun et al. 2022, section 3: z = φ(x) / ‖φ(x)‖₂, φ the penultimate layer, and z_(k) the k-th
    nearest of the training images'. The search is exact. The paper takes k = 50 for the 50,000
    training images of CIFAR-10.

    Args:
        model: Not used.
        images: Not used.
        generator: Not used; the feature is deterministic.
        activations: (N, d) by layer.
        fitted: What `fit` returned for this model.
        neighbours: k, from 1 to the number of images kept by `fit`.
        normalize: Divide by the norm, as in the paper; a row of zeros stays as it is.
        max_reference: Was settled by `fit`.

    Returns:
        Column ``kth_distance``: (N,) float64, at least 0; at most 2 if normalised.

    Raises:
        AdvdetectError: There are fewer images than k.
    """
    samples = fitted["features"]
    check_neighbours("nearest_neighbour", neighbours, 1, len(samples))
    queries = activations[PENULTIMATE]
    if normalize:
        queries, samples = _unit_length(queries), _unit_length(samples)
    return {"kth_distance": nearest_distances(queries, samples, neighbours)[:, -1]}


def _unit_length(features: Tensor) -> Tensor:
    """Return (N, d) float64 rows of norm 1; a row of zeros has no direction and stays zero."""
    features = features.double()
    norms = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / torch.where(norms > 0, norms, 1)
