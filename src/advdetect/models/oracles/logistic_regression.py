"""Multinomial logistic regression of scikit-learn, as an oracle."""

import torch
from torch import Tensor

from advdetect.models.oracles.labels_only import LabelsOnly, as_pixels


class LogisticRegression(LabelsOnly):
    """The class with the largest wᵀx + b.

    Args:
        num_classes: Number of classes.
        inverse_regularization: C, the inverse of the weight of ‖w‖²/2.
        iterations: Most iterations of L-BFGS.
    """

    weight: Tensor
    bias: Tensor
    classes: Tensor

    def __init__(
        self, num_classes: int = 10, inverse_regularization: float = 1.0, iterations: int = 1000
    ) -> None:
        double = torch.float64
        super().__init__(num_classes, {"weight": double, "bias": double, "classes": torch.int64})
        self._settings = {"C": inverse_regularization, "max_iter": iterations}

    def fitted(self, images: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the weights; of two classes scikit-learn has one row, for the second."""
        from sklearn import linear_model  # only who fits needs it

        found = linear_model.LogisticRegression(**self._settings, random_state=seed)
        found.fit(as_pixels(images).numpy(), labels.numpy())
        weight, bias = torch.from_numpy(found.coef_), torch.from_numpy(found.intercept_)
        if len(weight) == 1:
            weight, bias = (torch.cat([torch.zeros_like(each), each]) for each in (weight, bias))
        return {"weight": weight, "bias": bias, "classes": torch.from_numpy(found.classes_)}

    def labels(self, images: Tensor) -> Tensor:
        """Return the (N,) labels of (N, D) images in [0, 1]."""
        scores = torch.addmm(self.bias, images.double(), self.weight.T)
        return self.classes[scores.argmax(1)]
