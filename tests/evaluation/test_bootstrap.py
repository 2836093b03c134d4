import numpy as np
import pytest
from scipy import stats

from advdetect.errors import AdvdetectError
from advdetect.evaluation.bootstrap import (
    mean_of_seeds,
    percentile_interval,
    poisson_weights,
    seed_weights,
)


def test_weights_follow_the_poisson_distribution() -> None:
    weights = poisson_weights(np.arange(400), 500, seed=3)
    counts = np.bincount(weights.ravel(), minlength=6)
    expected = weights.size * stats.poisson.pmf(np.arange(5), 1)
    observed = np.append(counts[:5], counts[5:].sum())
    result = stats.chisquare(observed, np.append(expected, weights.size - expected.sum()))
    assert result.pvalue > 1e-3


def test_weights_of_different_images_and_replicates_are_uncorrelated() -> None:
    weights = poisson_weights(np.arange(30), 4000, seed=3).astype(float)
    correlation = np.corrcoef(weights.T)
    assert np.abs(correlation[~np.eye(30, dtype=bool)]).max() < 5 / np.sqrt(4000)


def test_weights_of_an_image_do_not_depend_on_the_others() -> None:
    together = poisson_weights([5, 9, 2**40], 64, seed=11)
    assert together.shape == (64, 3)
    alone = poisson_weights([2**40], 64, seed=11)
    np.testing.assert_array_equal(together[:, 2:], alone)
    reordered = poisson_weights(np.array([9, 5]), 64, seed=11)
    np.testing.assert_array_equal(together[:, [1, 0]], reordered)


def test_more_replicates_continue_the_weights() -> None:
    few, many = (poisson_weights([1, 2], n, seed=0) for n in (10, 100))
    np.testing.assert_array_equal(few, many[:10])


def test_weights_depend_on_the_seed() -> None:
    assert (poisson_weights([1], 50, seed=0) != poisson_weights([1], 50, seed=1)).any()


def test_no_images_and_no_replicates() -> None:
    assert poisson_weights(np.array([], dtype=int), 5, seed=0).shape == (5, 0)
    with pytest.raises(AdvdetectError, match="at least 1 replicate"):
        poisson_weights([1], 0, seed=0)


def test_seed_weights_are_shares_of_draws_with_replacement() -> None:
    shares = seed_weights(3, 6000, seed=5)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert set(np.unique(np.rint(3 * shares))) == {0, 1, 2, 3}
    # All three draws hit the first seed with probability 1/27.
    assert (shares[:, 0] == 1).mean() == pytest.approx(1 / 27, abs=4 * np.sqrt(1 / 27 / 6000))
    np.testing.assert_array_equal(seed_weights(1, 10, seed=5), np.ones((10, 1)))


def test_interval_leaves_out_replicates_without_a_value() -> None:
    replicates = np.array([[np.nan, *range(101)], [np.nan, *range(100, 201)]], dtype=float)
    low, high = percentile_interval(replicates, level=0.9)
    np.testing.assert_allclose(low, [5, 105])
    np.testing.assert_allclose(high, [95, 195])


def test_interval_of_nothing_is_nan() -> None:
    for replicates in (np.empty((2, 0)), np.full((2, 3), np.nan)):
        assert np.isnan(percentile_interval(replicates)).all()


def test_the_mean_of_seeds_draws_them_in_each_replicate() -> None:
    replicates = np.random.default_rng(0).normal(size=(3, 2, 40))
    shares = seed_weights(3, 40, seed=5)
    expected = [
        [sum(shares[b, s] * replicates[s, m, b] for s in range(3)) for b in range(40)]
        for m in range(2)
    ]
    np.testing.assert_allclose(mean_of_seeds(replicates, 5), expected, rtol=1e-12)
    np.testing.assert_array_equal(mean_of_seeds(replicates[:1], 5), replicates[0])
    replicates[1, 0, 7] = np.nan
    assert np.isnan(mean_of_seeds(replicates, 5)[0, 7])
