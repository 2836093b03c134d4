"""Random forest (Zhao et al. 2019, section 4: depth at most 5, more than 20 trees)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree._criterion import Gini
from sklearn.tree._splitter import BestSplitter
from sklearn.tree._tree import DepthFirstTreeBuilder, Tree


class Forest(ClassifierMixin, BaseEstimator):
    """The forest of scikit-learn's `RandomForestClassifier`, to the last bit, for two classes.

    scikit-learn's makes an estimator of each tree and checks its inputs anew, which takes twice as
    long as growing it where a forest is fitted on a thousand images, as here hundreds of times.

    Args:
        trees: Number of trees.
        max_depth: Splits above a leaf at most.
        random_state: Seed.
    """

    def __init__(self, trees: int, max_depth: int, random_state: int) -> None:
        self.trees = trees
        self.max_depth = max_depth
        self.random_state = random_state

    def fit(self, features: ArrayLike, labels: ArrayLike) -> "Forest":
        """Grow each tree on as many images as there are, drawn with replacement.

        At each split the best of √d features that are drawn is taken, by the Gini impurity.

        Args:
            features: (n, d) finite values.
            labels: (n,) of one or two classes.
        """
        values = np.ascontiguousarray(features, dtype=np.float32)
        self.classes_, classes = np.unique(labels, return_inverse=True)
        targets = classes.astype(np.float64).reshape(-1, 1)
        generator = np.random.RandomState(self.random_state)
        seeds = [generator.randint(np.iinfo(np.int32).max) for _ in range(self.trees)]
        self.trees_ = [self._grow(values, targets, seed) for seed in seeds]
        return self

    def _grow(self, values: NDArray[np.float32], targets: NDArray[np.float64], seed: int) -> Tree:
        count, width = values.shape
        drawn = np.random.RandomState(seed).randint(0, count, count)
        weights = np.bincount(drawn, minlength=count).astype(np.float64)
        n_classes = np.array([len(self.classes_)], dtype=np.intp)
        splitter = BestSplitter(
            Gini(1, n_classes),
            max(1, int(np.sqrt(width))),
            1,  # images in a leaf at least
            0.0,
            np.random.RandomState(seed),
            None,
        )
        tree = Tree(width, n_classes, 1)
        builder = DepthFirstTreeBuilder(splitter, 2, 1, 0.0, self.max_depth, 0.0)
        builder.build(tree, values, targets, weights, None)
        return tree

    def predict_proba(self, features: ArrayLike) -> NDArray[np.float64]:
        """Return the (n, classes) mean of the trees' shares of each class in an image's leaf."""
        values = np.ascontiguousarray(features, dtype=np.float32)
        total = np.zeros((len(values), len(self.classes_)))
        for tree in self.trees_:
            total += tree.predict(values)
        return total / len(self.trees_)

    def predict(self, features: ArrayLike) -> NDArray:
        """Return the (n,) more probable classes."""
        return self.classes_[self.predict_proba(features).argmax(axis=1)]


def random_forest(*, seed: int, trees: int, max_depth: int) -> Pipeline:
    """Make the detector; the scaler is fitted with it, on the training part only."""
    return make_pipeline(StandardScaler(), Forest(trees, max_depth, seed))
