import itertools

import numpy as np
import pytest
from scipy import stats

from advdetect.errors import AdvdetectError
from advdetect.smoothing.certificates import (
    ABSTAIN,
    certify,
    largest_radius,
    lower_bound,
    p_value,
    predict,
)

ALPHAS = (0.5, 0.05, 0.001)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("draws", [1, 2, 10, 100, 1000, 100_000])
def test_the_bound_is_that_of_scipys_exact_test(draws, alpha):
    hits = sorted({0, 1, draws // 3, draws // 2, draws - 1, draws})
    expected = [
        stats.binomtest(k, draws, alternative="greater")
        .proportion_ci(confidence_level=1 - alpha, method="exact")
        .low
        for k in hits
    ]
    # SciPy searches for the bound, to a distance of 1e-12.
    np.testing.assert_allclose(lower_bound(hits, draws, alpha), expected, rtol=1e-9, atol=1e-12)


def test_the_bound_of_small_cases():
    assert lower_bound(0, 5, 0.05) == 0
    # All of n hits are as probable as α where pⁿ = α; one hit or more where 1 − (1 − p)ⁿ = α.
    assert lower_bound(3, 3, 0.125) == pytest.approx(0.5)
    assert lower_bound(1, 2, 0.19) == pytest.approx(0.1)
    # Two hits or more of three: 3p² − 2p³ = 1/2 at p = 1/2.
    assert lower_bound(2, 3, 0.5) == pytest.approx(0.5)


def test_the_test_is_scipys():
    cases = [(k, n) for n in (1, 2, 7, 50, 1000) for k in range((n + 1) // 2, n + 1)]
    hits, draws = np.array(cases).T
    expected = [stats.binomtest(k, n, 0.5).pvalue for k, n in cases]
    np.testing.assert_allclose(p_value(hits, draws), expected, rtol=1e-9)


def test_a_class_is_predicted_where_it_is_told_from_the_second():
    # Of 10 draws, 9 or more for one of two classes have p = 22 / 1024, 8 or more 112 / 1024.
    counts = [[9, 1, 0], [1, 0, 9], [0, 8, 2], [10, 0, 0], [5, 5, 0]]
    assert predict(counts, 0.05).tolist() == [0, 2, ABSTAIN, 0, ABSTAIN]
    # The draws of a third class say nothing about the first two.
    assert predict([[9, 1, 90]], 0.05).tolist() == [2]
    assert predict([[45, 45, 10]], 0.05).tolist() == [ABSTAIN]
    assert predict([[0, 0, 0]], 0.05).tolist() == [ABSTAIN]


def test_a_prediction_abstains_at_the_level_of_the_test():
    (p,) = p_value([8], [10])
    assert predict([[8, 2]], p).tolist() == [0]
    assert predict([[8, 2]], p * (1 - 1e-12)).tolist() == [ABSTAIN]


def test_the_first_draws_choose_the_class_and_the_second_ones_its_radius():
    found = certify([[1, 9], [9, 1], [9, 1]], [[10, 90], [10, 90], [95, 5]], 0.001, 0.5)
    assert found.classes.tolist() == [1, ABSTAIN, 0]
    bounds = lower_bound([90, 10, 95], 100, 0.001)
    np.testing.assert_array_equal(found.lower_bound, bounds)
    expected = 0.5 * stats.norm.ppf(bounds[[0, 2]])
    np.testing.assert_allclose(found.radius, [expected[0], 0, expected[1]], rtol=1e-12)


def test_there_is_no_certificate_unless_the_bound_is_above_one_half():
    # With α = 1/8, three of three draws bound p by exactly 1/2, four by more.
    assert certify([[3, 0]], [[3, 0]], 0.125, 1).classes.tolist() == [ABSTAIN]
    assert certify([[3, 0]], [[3, 0]], 0.125, 1).radius.tolist() == [0]
    assert certify([[3, 0]], [[4, 0]], 0.125, 1).classes.tolist() == [0]


def test_no_radius_is_larger_than_that_of_draws_which_all_agree():
    # Cohen et al. 2019, section 3.2.2: about 3.8 σ for 100,000 draws and α = 0.001.
    assert largest_radius(100_000, 0.001, 0.25) == pytest.approx(0.25 * 3.811, abs=1e-3)
    assert certify([[1, 0]], [[1000, 0]], 0.001, 2).radius[0] == pytest.approx(
        largest_radius(1000, 0.001, 2)
    )
    assert largest_radius(3, 0.125, 1) == 0
    assert largest_radius(1, 0.001, 1) == 0


def test_the_bound_is_above_the_true_probability_as_seldom_as_it_says():
    generator = np.random.default_rng(3)
    for p, alpha in itertools.product((0.55, 0.9, 0.999), ALPHAS):
        hits = generator.binomial(1000, p, size=1000)
        failures = int((lower_bound(hits, 1000, alpha) > p).sum())
        # As many as a binomial of probability α has at most once in a thousand such tests.
        assert failures <= stats.binom.ppf(0.999, 1000, alpha), (p, alpha)
    # Nor is it lower than it has to be: it fails nearly as often as it may.
    hits = generator.binomial(100_000, 0.9, size=1000)
    assert (lower_bound(hits, 100_000, 0.5) > 0.9).mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, float("nan")])
def test_an_impossible_level_is_refused(alpha):
    with pytest.raises(AdvdetectError, match="alpha"):
        predict([[1, 2]], alpha)


def test_an_impossible_noise_is_refused():
    with pytest.raises(AdvdetectError, match="sigma"):
        certify([[1, 2]], [[1, 2]], 0.1, 0)
