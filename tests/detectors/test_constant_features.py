"""Detectors of a feature that says nothing, since all of its values are the same."""

import numpy as np
import pandas as pd
import pytest
import yaml

from advdetect.detectors.novelty import Novelty
from advdetect.steps.options import bind_target

DETECTORS = ["gaussian", "isolation_forest", "logistic_regression", "naive_bayes"]
DETECTORS += ["one_class_svm", "random_forest"]


def scores(repository, name, trained, tested):
    spec = yaml.safe_load((repository / f"config/detector/{name}.yaml").read_text())
    detector = bind_target(spec, "_target_", given=["seed"])(seed=0)
    is_adversarial = np.arange(len(trained)) >= len(trained) // 2
    if isinstance(detector, Novelty):
        trained, is_adversarial = trained[~is_adversarial], is_adversarial[~is_adversarial]
    detector.fit(trained, is_adversarial)
    if hasattr(detector, "decision_function"):
        return detector.decision_function(tested)
    return detector.predict_proba(tested)[:, 1]


@pytest.mark.parametrize("name", DETECTORS)
def test_all_images_are_alike(repository, name):
    values = pd.DataFrame({"a": np.ones(8), "b": np.zeros(8)})
    found = scores(repository, name, values, values)
    assert np.isfinite(found).all()
    assert len(set(found)) == 1


def test_naive_bayes_is_that_of_the_other_column(repository):
    values = pd.DataFrame({"a": np.random.default_rng(0).normal(size=8)})
    one, two = (scores(repository, "naive_bayes", x, x) for x in (values, values.assign(b=1.0)))
    np.testing.assert_allclose(one, two)
