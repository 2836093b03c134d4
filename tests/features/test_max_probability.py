import math

import pytest
import torch
from torch import Tensor, nn

from advdetect.features.max_probability import max_probability
from advdetect.randomness import SampleGenerator

COLUMN = "log10_one_minus_max_probability"


def feature_of(logits: Tensor) -> Tensor:
    """Apply the feature to a model that returns these logits."""
    images = logits.view(*logits.shape, 1, 1)
    generator = SampleGenerator(0, range(len(logits)))
    result = max_probability(nn.Flatten().eval(), images, generator=generator)
    assert list(result) == [COLUMN]
    assert result[COLUMN].dtype == torch.float64
    assert result[COLUMN].shape == (len(logits),)
    return result[COLUMN]


def test_two_classes_in_closed_form() -> None:
    gaps = [0.0, 1e-3, 1.0, 10.0, 50.0, 300.0, 1000.0]
    logits = torch.tensor([[5.0 + gap, 5.0] for gap in gaps], dtype=torch.float64)
    # 1 − p = 1 / (1 + e^gap), whose logarithm is −gap − log(1 + e^−gap).
    expected = [(-gap - math.log1p(math.exp(-gap))) / math.log(10) for gap in gaps]
    assert feature_of(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_moderate_logits_by_the_definition() -> None:
    logits = torch.randn(50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = [
        math.log10(1 - max(math.exp(z) for z in row) / math.fsum(math.exp(z) for z in row))
        for row in logits.tolist()
    ]
    assert feature_of(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_float32_logits_a_thousand_apart_stay_finite_and_exact() -> None:
    logits = torch.tensor([[1000.0, 0.0, 0.0, -1000.0], [-500.0, 500.0, -500.0, -500.0]])
    expected = [(-1000 + math.log(2)) / math.log(10), (-1000 + math.log(3)) / math.log(10)]
    assert feature_of(logits).tolist() == pytest.approx(expected, rel=1e-12)


def test_a_tie_leaves_one_half() -> None:
    logits = torch.tensor([[2.0, 2.0], [2.0, 2.0]])
    assert feature_of(logits).tolist() == pytest.approx([math.log10(0.5)] * 2)
