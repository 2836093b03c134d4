"""Noise far below a grey level is no attack, and no Fisher detector may find it.

Clean images have exact ties in their max-pooling windows and perturbed ones have not, so a feature
could give away that an image was touched at all.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from advdetect.data import digits
from advdetect.detectors.random_forest import random_forest
from advdetect.features.fisher_input import fisher_input
from advdetect.features.fisher_weights import fisher_weights
from advdetect.inference import to_float
from advdetect.randomness import SampleGenerator


@pytest.fixture(scope="module")
def world(train_on_digits):
    splits = digits.load(test_fraction=0.4, split_seed=0)
    model, _ = train_on_digits(splits["train"], epochs=15, dropout=0.0)
    clean = to_float(splits["test"].images)
    noise = SampleGenerator(0, range(len(clean))).normal(1, 8, 8)
    return model.requires_grad_(False), clean, (clean + 1e-6 * noise).clamp(0, 1)


@pytest.mark.parametrize("feature", [fisher_input, fisher_weights])
def test_tiny_noise_is_not_detected(world, feature):
    model, *kinds = world
    generator = SampleGenerator(0, [])
    tables = [
        pd.DataFrame({k: v.numpy() for k, v in feature(model, x, generator=generator).items()})
        for x in kinds
    ]
    assert not tables[0].equals(tables[1])
    fitting = np.arange(len(tables[0])) % 2 == 0  # both twins of an image are on one side
    detector = random_forest(seed=0, trees=100, max_depth=5)
    labels = np.repeat([0, 1], fitting.sum())
    detector.fit(pd.concat([table[fitting] for table in tables]), labels)
    scores = detector.predict_proba(pd.concat([table[~fitting] for table in tables]))[:, 1]
    area = roc_auc_score(np.repeat([0, 1], (~fitting).sum()), scores)
    assert abs(area - 0.5) < 0.08  # three standard errors with 359 images of each kind
