import math

import numpy as np
import pytest
from array_calls import of_arrays

from advdetect.features import max_probability as module

max_probability = of_arrays(module.max_probability)

COLUMN = "log10_one_minus_max_probability"


def feature_of(logits: np.ndarray) -> np.ndarray:
    before = logits.copy()
    result = max_probability({"penultimate": np.zeros((len(logits), 0)), "logits": logits})
    assert list(result) == [COLUMN]
    assert result[COLUMN].dtype == np.float64
    assert result[COLUMN].shape == (len(logits),)
    assert (logits == before).all()
    return result[COLUMN]


def test_two_classes_in_closed_form() -> None:
    gaps = [0.0, 1e-3, 1.0, 10.0, 50.0, 300.0, 1000.0]
    logits = np.array([[5.0 + gap, 5.0] for gap in gaps])
    # 1 − p = 1 / (1 + e^gap), whose logarithm is −gap − log(1 + e^−gap).
    expected = [(-gap - math.log1p(math.exp(-gap))) / math.log(10) for gap in gaps]
    assert feature_of(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_moderate_logits_by_the_definition() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7))
    expected = [
        math.log10(1 - max(math.exp(z) for z in row) / math.fsum(math.exp(z) for z in row))
        for row in logits.tolist()
    ]
    assert feature_of(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_float32_logits_a_thousand_apart_stay_finite_and_exact() -> None:
    logits = np.array(
        [[1000.0, 0.0, 0.0, -1000.0], [-500.0, 500.0, -500.0, -500.0]], dtype=np.float32
    )
    expected = [(-1000 + math.log(2)) / math.log(10), (-1000 + math.log(3)) / math.log(10)]
    assert feature_of(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_tie_leaves_one_half() -> None:
    logits = np.array([[2.0, 2.0], [2.0, 2.0]], dtype=np.float32)
    assert feature_of(logits).tolist() == pytest.approx([math.log10(0.5)] * 2)


def test_an_image_does_not_depend_on_the_others() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32) * 20
    assert [feature_of(logits[row : row + 1]).item() for row in range(20)] == pytest.approx(
        feature_of(logits).tolist(), rel=1e-14
    )
