import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom, binom

from advdetect.defenses.threshold import thresholds
from advdetect.errors import AdvdetectError


def threshold(scores, rate: float) -> float:
    return thresholds({"a": torch.as_tensor(scores)}, {"a": rate})["a"]


@pytest.mark.parametrize(
    ("count", "rate", "flagged"),
    [(99, 0.01, 0), (199, 0.01, 1), (6000, 0.001, 5), (1000, 0.29, 289)],
)
def test_as_many_held_out_images_are_flagged_as_stated(count, rate, flagged):
    scores = torch.randperm(count, generator=torch.Generator().manual_seed(0)).double()
    limit = threshold(scores, rate)
    assert int((scores > limit).sum()) == flagged
    assert limit == count - 1 - flagged


@pytest.mark.parametrize("rate", [0.001, 0.005, 0.01, 0.1, 0.29, 0.3, 0.7])
@pytest.mark.parametrize("count", [999, 1000, 1001, 5423])
def test_a_new_image_is_flagged_at_most_at_the_rate_and_hardly_less(rate, count):
    """With exchangeable scores, a new one is above the (k + 1)-th largest w.p. (k + 1)/(n + 1)."""
    scores = torch.arange(count).double()
    above = int((scores > threshold(scores, rate)).sum())
    chance = (above + 1) / (count + 1)
    assert chance <= rate * (1 + 1e-12)
    assert chance > rate - 1 / (count + 1) - 1e-12


def test_the_rate_is_realised_on_fresh_draws():
    count, fresh, rate = 2000, 20_000, 0.02
    random = np.random.default_rng(0)
    flagged = 0
    for _ in range(20):
        limit = threshold(random.gumbel(size=count), rate)
        flagged_here = int((random.gumbel(size=fresh) > limit).sum())
        # The share above an order statistic is beta distributed, the number beta-binomial.
        low, high = betabinom.interval(0.9999, fresh, 40, count + 1 - 40)
        assert low <= flagged_here <= high
        flagged += flagged_here
    # Not independent within a threshold, so the interval is that of the effective number.
    low, high = binom.interval(0.9999, 20 * count // 2, rate)
    assert low <= flagged * (20 * count // 2) / (20 * fresh) <= high


def test_ties_are_not_flagged():
    scores = torch.cat([torch.zeros(900), torch.ones(100)])
    limit = threshold(scores, 0.05)
    assert limit == 1
    assert not (scores > limit).any()


def test_every_detector_has_its_own_rate():
    scores = {"a": torch.arange(100.0), "b": torch.arange(100.0)}
    assert thresholds(scores, {"a": 0.1, "b": 0.5}) == {"a": 90.0, "b": 50.0}


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.03, 0.15])
def test_too_few_images_say_how_many_are_needed(rate):
    needed = math.ceil(1 / rate - 1e-9) - 1
    with pytest.raises(AdvdetectError, match=f"at least {needed},"):
        threshold(torch.arange(float(needed - 1)), rate)
    assert threshold(torch.arange(float(needed)), rate) == needed - 1
    with pytest.raises(AdvdetectError, match="0 held-out images"):
        threshold(torch.empty(0), rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(AdvdetectError, match="between 0 and 1"):
        threshold(torch.arange(10.0), rate)


def test_a_missing_rate_and_an_infinite_score_are_refused():
    with pytest.raises(AdvdetectError, match="detector a is None"):
        thresholds({"a": torch.arange(10.0)}, {})
    for bad in (math.inf, math.nan):
        with pytest.raises(AdvdetectError, match="not a number"):
            threshold([1.0, bad], 0.5)
