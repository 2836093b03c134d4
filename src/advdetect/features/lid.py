"""Local intrinsic dimensionality of the hidden layers (Ma et al. 2018)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from advdetect.features.activations import (
    Activations,
    fitted_values,
    layer_columns,
    selected_layers,
)
from advdetect.features.numerics import nearest_distances
from advdetect.randomness import SampleGenerator
from advdetect.requirements.neighbours import check_neighbours
from advdetect.selection import evenly_spread

# Half the spacing of float32, in which the activations are: nearer to each other or to zero,
# two distances are told apart by rounding alone.
_RESOLUTION = 2.0**-24


def fit(
    activations: Activations,
    labels: Tensor,
    *,
    neighbours: int = 30,
    reference: int = 300,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Choose the reference images, evenly spread over the training images.

    Ma et al. 2018 (algorithm 1) take the neighbours from the minibatch of 100 clean images that
    the image came in, so the value depends on the company it keeps. Here the reference is the
    same for every image and comes from the training images, so no twin of an image is in it. Its
    size and k belong together: in the last layers a clean image lies in the cluster of its class,
    and an adversarial one tells itself apart where the k nearest images reach beyond a class. On
    validation images of three networks with 10 classes 30 of 300 were best by the penultimate
    layer, 1000 with k = 20 up to 38 points of AUROC worse; first layers gain from more.

    Args:
        activations: (N, d) of the training images, by layer.
        labels: (N,) int64 true classes; not used.
        neighbours: k, from 2 to the number of reference images.
        reference: Reference images, at most; all training images where there are fewer.
        layers: Layers to use beside the penultimate one; None means every hidden layer.

    Returns:
        (M, d) reference activations by layer, M = min(N, reference).

    Raises:
        AdvdetectError: There is no such layer, or there are fewer reference images than k.
    """
    chosen = evenly_spread(len(labels), reference)
    check_neighbours("lid", neighbours, 2, len(chosen))
    return {
        layer: activations[layer][chosen] for layer in selected_layers(activations, layers, "lid")
    }


def lid(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    activations: Activations,
    fitted: Mapping[str, Tensor],
    neighbours: int = 30,
    reference: int = 300,
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Return the local intrinsic dimensionality of each image in each layer.

    Ma et al. 2018, equation (4), the maximum-likelihood estimate from the distances
    r_1 ≤ … ≤ r_k to the k nearest reference images: −(1/k Σ_{i=1..k} log(r_i / r_k))^{-1}. As in
    the paper the sum is divided by k, though its last term is zero; dividing by k − 1 would
    change all values by one factor.

    Values are finite. A ratio r_i / r_k below 2^-24 counts as 2^-24, the resolution of float32:
    so do duplicates of the image in the reference, at distance zero, and an image with k of them
    has the lowest value, 1 / log(2^24) = 0.06, as a point has no dimension. The mean of
    −log(r_i / r_k) is at least 2^-24 too: where all k distances are equal, as with duplicates
    within the reference, the value is 2^24.

    Args:
        model: Not used.
        images: Not used.
        generator: Not used; the feature is deterministic.
        activations: (N, d) by layer.
        fitted: What `fit` returned for this model.
        neighbours: k, from 2 to the number of reference images.
        reference: Was settled by `fit`.
        layers: As in `fit`.

    Returns:
        Columns ``lid_<layer>``, of which ``lid_penultimate`` is always there: (N,) float64 in
        [0.06, 2^24]. In names of layers ``_`` stands for all but letters and digits.

    Raises:
        AdvdetectError: There is no such layer, or there are fewer reference images than k.
    """
    columns = layer_columns("lid", selected_layers(activations, layers, "lid"))
    result = {}
    for layer, column in columns.items():
        samples = fitted_values(fitted, layer, "lid")
        check_neighbours("lid", neighbours, 2, len(samples))
        result[column] = _dimensionality(nearest_distances(activations[layer], samples, neighbours))
    return result


def _dimensionality(distances: Tensor) -> Tensor:
    """Return equation (4) for (N, k) ascending distances, bounded as `lid` says."""
    furthest = distances[:, -1:]
    ratios = distances / torch.where(furthest > 0, furthest, 1)
    mean_log = ratios.clamp_min(_RESOLUTION).log().mean(dim=1)
    return -1 / mean_log.clamp_max(-_RESOLUTION)
