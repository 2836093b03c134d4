"""Decision tree of scikit-learn, as an oracle."""

import torch
from torch import Tensor

from advdetect.inference import to_float
from advdetect.models.oracles.labels_only import LabelsOnly


class DecisionTree(LabelsOnly):
    """The most frequent class of the leaf that an image falls into.

    Args:
        num_classes: Number of classes.
        max_depth: Decisions on the way to a leaf, at most; None: until each leaf has one class.
    """

    pixel: Tensor
    left: Tensor
    right: Tensor
    label: Tensor
    threshold: Tensor

    def __init__(self, num_classes: int = 10, max_depth: int | None = None) -> None:
        types = dict.fromkeys(("pixel", "left", "right", "label"), torch.int64)
        super().__init__(num_classes, types | {"threshold": torch.float64})
        self._settings = {"max_depth": max_depth}

    def fitted(self, images: Tensor, labels: Tensor, seed: int) -> dict[str, Tensor]:
        """Return for each node what it looks at and where it leads to; a leaf leads to itself."""
        from sklearn.tree import DecisionTreeClassifier  # only who fits needs it

        found = DecisionTreeClassifier(**self._settings, random_state=seed)
        tree = found.fit(to_float(images).numpy(), labels.numpy()).tree_
        nodes = torch.arange(tree.node_count)
        left, right = torch.from_numpy(tree.children_left), torch.from_numpy(tree.children_right)
        is_leaf = left < 0
        return {
            "pixel": torch.from_numpy(tree.feature).where(~is_leaf, 0),
            "left": left.where(~is_leaf, nodes),
            "right": right.where(~is_leaf, nodes),
            "label": torch.from_numpy(found.classes_[tree.value[:, 0].argmax(1)]),
            "threshold": torch.from_numpy(tree.threshold),
        }

    def labels(self, images: Tensor) -> Tensor:
        """Return the (N,) labels of (N, D) images in [0, 1]."""
        images = images.float()  # as scikit-learn compares them
        node = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        while True:
            value = images.gather(1, self.pixel[node][:, None]).squeeze(1).double()
            after = torch.where(value <= self.threshold[node], self.left[node], self.right[node])
            if torch.equal(after, node):
                return self.label[node]
            node = after
