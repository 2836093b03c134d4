"""k nearest neighbours of scikit-learn, as an oracle."""

import torch
from torch import Tensor
from torch.nn import functional

from advdetect.models.oracles.labels_only import LabelsOnly, rows_for, squared_distances


class NearestNeighbors(LabelsOnly):
    """The most frequent class of the nearest training images, of equally frequent the first.

    Which of several neighbours counts that are equally far is a matter of rounding here as there.

    Args:
        num_classes: Number of classes.
        neighbours: k.
    """

    images: Tensor
    classes: Tensor

    def __init__(self, num_classes: int = 10, neighbours: int = 5) -> None:
        super().__init__(num_classes, {"images": torch.uint8, "classes": torch.int64})
        self._neighbours = neighbours

    def fitted(self, images: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
        """Return the images and their classes: there is nothing to compute."""
        return {"images": images, "classes": labels}

    def at_a_time(self) -> int:
        """Return how many images are compared with the training images at a time."""
        return rows_for(len(self.images))

    def labels(self, images: Tensor) -> Tensor:
        """Return the (N,) labels of (N, D) images in [0, 1]."""
        distances = squared_distances(images, self.images)
        nearest = distances.topk(self._neighbours, dim=1, largest=False).indices
        votes = functional.one_hot(self.classes[nearest], self.num_classes).sum(1)
        return votes.argmax(1)
