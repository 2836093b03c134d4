"""Mahalanobis distance of the hidden layers to the nearest class mean (Lee et al. 2018)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from advdetect.features.activations import (
    Activations,
    count_classes,
    fitted_values,
    layer_columns,
    selected_layers,
)
from advdetect.features.numerics import squared_distances
from advdetect.randomness import SampleGenerator

_FLOAT32_ROUNDING = 2.0**-24  # of one operation, relative


def fit(
    activations: Activations, labels: Tensor, *, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Estimate the mean of each class and the covariance that all classes share, per layer.

    Lee et al. 2018, equation (1): μ_c = 1/N_c Σ_{i: y_i=c} f(x_i) and
    Σ = 1/N Σ_c Σ_{i: y_i=c} (f(x_i) − μ_c)(f(x_i) − μ_c)ᵀ, with the true classes, in float64.

    Σ is often singular: units that are off for every training image do not vary, and other units
    depend on each other. As in the authors' code its pseudo-inverse stands for Σ⁻¹, so directions
    in which training images do not vary count for nothing. Those are the eigenvectors with a
    variance below what the rounding of float32 activations explains, d (2⁻²⁴)² times the mean
    square of the largest unit.

    Args:
        activations: (N, d) of the training images, by layer.
        labels: (N,) int64 true classes.
        layers: Layers to use beside the penultimate one; None means every hidden layer.

    Returns:
        For each layer ``<layer>/means`` (classes, d) float64 and ``<layer>/whitening`` (d, r)
        float64: W with W Wᵀ = Σ⁺, r the rank of Σ.

    Raises:
        AdvdetectError: There is no such layer, or a class has no training image.
    """
    counts = count_classes(activations, labels, "mahalanobis", least=1)
    fitted = {}
    for layer in selected_layers(activations, layers, "mahalanobis"):
        features = activations[layer].double()
        means = torch.stack([features[labels == label].mean(dim=0) for label in range(len(counts))])
        fitted[f"{layer}/means"] = means
        largest = float(features.square().mean(dim=0).max())
        floor = features.shape[1] * _FLOAT32_ROUNDING**2 * largest
        fitted[f"{layer}/whitening"] = _whitening(features - means[labels], floor)
    return fitted


def mahalanobis(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    activations: Activations,
    fitted: Mapping[str, Tensor],
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Return M(x) = max_c −(f(x) − μ_c)ᵀ Σ⁻¹ (f(x) − μ_c) per layer (Lee et al. 2018, equation 2).

    Left out of the paper: its input pre-processing, which moves the image by a gradient step
    towards the nearest class mean before M is taken and would need the model. The weights of the
    layers in the sum of their section 2.2 are what a logistic regression on these columns learns.

    Args:
        model: Not used.
        images: Not used.
        generator: Not used; the feature is deterministic.
        activations: (N, d) by layer.
        fitted: What `fit` returned for this model.
        layers: As in `fit`.

    Returns:
        Columns ``mahalanobis_<layer>``, of which ``mahalanobis_penultimate`` is always there: (N,)
        float64, at most 0. In names of layers ``_`` stands for all but letters and digits.

    Raises:
        AdvdetectError: There is no such layer.
    """
    columns = layer_columns("mahalanobis", selected_layers(activations, layers, "mahalanobis"))
    result = {}
    for layer, column in columns.items():
        means = fitted_values(fitted, f"{layer}/means", "mahalanobis")
        whitening = fitted_values(fitted, f"{layer}/whitening", "mahalanobis")
        # Measured from a mean, lest what the classes have in common be lost in rounding.
        origin = means[0]
        queries = (activations[layer].double() - origin) @ whitening
        blocks = squared_distances(queries, (means - origin) @ whitening)
        result[column] = torch.cat([-squares.amin(dim=1) for _, squares, _ in blocks])
    return result


def _whitening(deviations: Tensor, floor: float) -> Tensor:
    """Return W (d, r) with W Wᵀ the pseudo-inverse of the covariance of (N, d) deviations."""
    variances, directions = torch.linalg.eigh(deviations.T @ deviations / len(deviations))
    # The eigenvalues themselves are known to rounding of the largest one.
    rounding = len(variances) * torch.finfo(torch.float64).eps * float(variances[-1])
    kept = variances > max(floor, rounding)
    return directions[:, kept] / variances[kept].sqrt()
