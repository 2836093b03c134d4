"""Support vector machine of scikit-learn with a radial kernel, as an oracle."""

import torch
from torch import Tensor

from advdetect.models.oracles.labels_only import (
    LabelsOnly,
    as_pixels,
    rows_for,
    squared_distances,
)


class SVM(LabelsOnly):
    """The class that wins most of the pairwise decisions Σ α k(v, x) + b, k = exp(−γ‖v − x‖²).

    Args:
        num_classes: Number of classes.
        inverse_regularization: C, the weight of what is on the wrong side of the margin.
        gamma: γ in pixel units of [0, 1], or ``scale`` for 1 / (D · variance of the pixels).
    """

    vectors: Tensor
    counts: Tensor
    classes: Tensor
    coefficients: Tensor
    bias: Tensor
    gamma: Tensor

    def __init__(
        self,
        num_classes: int = 10,
        inverse_regularization: float = 1.0,
        gamma: float | str = "scale",
    ) -> None:
        types = {"vectors": torch.uint8, "counts": torch.int64, "classes": torch.int64}
        types |= dict.fromkeys(("coefficients", "bias", "gamma"), torch.float64)
        super().__init__(num_classes, types)
        self._settings = {"C": inverse_regularization, "gamma": gamma}

    def fitted(self, images: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the support vectors by class, with their coefficients in the pairs of it."""
        from sklearn import svm  # only who fits needs it

        pixels = as_pixels(images).numpy()
        settings = dict(self._settings)
        if settings["gamma"] == "scale":
            settings["gamma"] = 1 / (pixels.shape[1] * pixels.var())
        found = svm.SVC(kernel="rbf", **settings).fit(pixels, labels.numpy())
        # For two classes scikit-learn turns the signs of what its voting uses.
        sign = -1 if len(found.classes_) == 2 else 1
        return {
            "vectors": images[torch.from_numpy(found.support_).long()],
            "counts": torch.from_numpy(found.n_support_),
            "classes": torch.from_numpy(found.classes_),
            "coefficients": torch.from_numpy(sign * found.dual_coef_),
            "bias": torch.from_numpy(sign * found.intercept_),
            "gamma": torch.tensor(settings["gamma"]),
        }

    def at_a_time(self) -> int:
        """Return how many images are compared with the support vectors at a time."""
        return rows_for(len(self.vectors))

    def labels(self, images: Tensor) -> Tensor:
        """Return the (N,) labels of (N, D) images in [0, 1]."""
        kernel = (-self.gamma * squared_distances(images, self.vectors)).exp_()
        counts = self.counts.tolist()
        # What the vectors of each class add to its pairs with the others: (classes, others, N).
        parts = zip(kernel.split(counts, 1), self.coefficients.split(counts, 1), strict=True)
        sums = torch.stack([coefficients @ of_class.T for of_class, coefficients in parts])
        first, second = torch.triu_indices(len(counts), len(counts), 1, device=images.device)
        decisions = sums[first, second - 1] + sums[second, first] + self.bias[:, None]
        votes = decisions.new_zeros(len(counts), len(images))
        votes.index_add_(0, first, (decisions > 0).double())
        votes.index_add_(0, second, (decisions <= 0).double())
        return self.classes[votes.argmax(0)]
