"""Units beside random directions, against NumPy, SciPy and exact small cases."""

import numpy as np
import pytest
import torch
from scipy import stats

from advdetect.models.units import (
    class_counts,
    entropy,
    most_active,
    permutation_test,
    purity,
    random_directions,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def test_directions_are_of_unit_length_and_evenly_spread(generator):
    found = random_directions(4000, 5, generator)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4000, dtype=torch.float64))
    assert found.mean(dim=0).abs().max() < 0.03
    np.testing.assert_allclose(found.T @ found / 4000, np.eye(5) / 5, atol=0.02)


def test_the_images_furthest_along_a_direction(generator):
    values = torch.rand(50, 4, generator=generator, dtype=torch.float64)
    directions = torch.cat([torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    found = most_active(values, directions, 3).numpy()
    order = np.argsort(values.numpy(), axis=0)
    np.testing.assert_array_equal(found[:4], order[::-1][:3].T)
    np.testing.assert_array_equal(found[4:], order[:3].T)
    ties = most_active(torch.zeros(5, 1, dtype=torch.float64), directions[:1, :1], 2)
    assert ties.tolist() == [[0, 1]]


def test_purity_and_entropy_are_those_of_the_classes():
    labels = torch.tensor([[3, 3, 3, 3], [0, 1, 1, 2], [0, 1, 2, 3]])
    counts = class_counts(labels, 5)
    assert purity(counts).tolist() == [1.0, 0.5, 0.25]
    np.testing.assert_allclose(entropy(counts), stats.entropy(counts.numpy(), axis=1), atol=1e-12)


def test_the_permutation_test_is_scipy_s(generator):
    values = torch.rand(40, generator=generator, dtype=torch.float64)
    first, second = values[:25] + 0.15, values[25:]
    difference, p = permutation_test(first, second, 20_000, generator)
    expected = stats.permutation_test(
        (first.numpy(), second.numpy()),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    )
    assert difference == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue, abs=0.015)
    assert 0.005 < p < 0.5  # so that the test can tell


def test_equal_samples_have_p_one_and_far_ones_the_least_that_there_is(generator):
    same = torch.ones(10)
    assert permutation_test(same, same, 99, generator) == (0.0, 1.0)
    far = torch.linspace(0, 1, 30)
    assert permutation_test(far + 9, far, 99, generator) == (pytest.approx(9.0), 0.01)


def test_p_is_evenly_spread_where_there_is_no_difference(generator):
    found = [
        permutation_test(values[:12], values[12:], 199, generator)[1]
        for values in torch.randn(200, 30, generator=generator)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.001
