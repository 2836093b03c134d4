import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advdetect.errors import AdvdetectError
from advdetect.fisher.categorical import (
    SMALLEST_SQUARE,
    log10_of_scaled,
    log_odds,
    two_class_log_odds,
)

logit_rows = st.lists(st.floats(-30, 30), min_size=2, max_size=8)


@settings(max_examples=50)
@given(logit_rows)
def test_root_and_seeds_give_the_softmax_covariance(row: list[float]) -> None:
    logits = torch.tensor([row], dtype=torch.float64)
    odds = log_odds(logits)
    root = odds.scaled_root()[0] * (0.5 * odds.log_scale[0]).exp()
    seeds = odds.seeds[:, 0]
    p = logits[0].softmax(0)
    torch.testing.assert_close(
        seeds.T @ root @ root.T @ seeds, p.diag() - p[:, None] * p, rtol=1e-12, atol=1e-14
    )


def test_each_image_has_its_own_predicted_class_and_order() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, -1.0, 2.0], [1.0, 1.0, 0.0]])
    odds = log_odds(logits)
    assert odds.predicted.tolist() == [1, 0, 0]
    p = logits.double().softmax(1)
    expected = torch.stack([p[0, [0, 2]], p[1, [1, 2]], p[2, [1, 2]]])
    torch.testing.assert_close(odds.log_q.exp(), expected)
    torch.testing.assert_close(odds.log_p.exp(), p.amax(1))
    assert odds.seeds[:, 0].tolist() == [[1, -1, 0], [0, -1, 1]]


def test_predicted_class_can_be_given() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]])
    odds = log_odds(logits, torch.tensor([2]))
    p = logits.double().softmax(1)
    torch.testing.assert_close(odds.log_p.exp(), p[:, 2])
    torch.testing.assert_close(odds.log_q.exp(), p[:, :2])


@pytest.mark.parametrize("gap", [1e-3, 1, 40, 100, 500, 1000, 1e6])
def test_small_probabilities_keep_their_precision(gap: float) -> None:
    odds = log_odds(torch.tensor([[gap, 0.0, 0.0, -gap]]))
    gap = float(torch.tensor(gap))
    denominator = math.log1p(2 * math.exp(-gap) + math.exp(-2 * gap))
    expected = torch.tensor([[-gap, -gap, -2 * gap]], dtype=torch.float64) - denominator
    torch.testing.assert_close(odds.log_q, expected, rtol=1e-14, atol=0)
    assert odds.log_p.item() == pytest.approx(-denominator, rel=1e-14, abs=0)
    assert odds.scaled_q.amax() == 1
    assert torch.isfinite(odds.scaled_root()).all()


def test_two_classes_are_the_predicted_one_and_the_rest() -> None:
    logits = torch.tensor([[0.3, 3.0, 1.0, -2.0]], dtype=torch.float64, requires_grad=True)
    odds = two_class_log_odds(logits)
    rest = torch.cat([logits[:, :1], logits[:, 2:]], dim=1).logsumexp(1) - logits[:, 1]
    (seed,) = torch.autograd.grad(rest.sum(), logits)
    torch.testing.assert_close(odds.seeds[0], seed)
    torch.testing.assert_close(odds.log_q[:, 0].exp(), 1 - logits.softmax(1)[:, 1])


@pytest.mark.parametrize("logits", [torch.zeros(3), torch.zeros(3, 1), torch.zeros(2, 3, 4)])
def test_wrong_shape_is_refused(logits: torch.Tensor) -> None:
    with pytest.raises(AdvdetectError, match="at least 2 classes"):
        log_odds(logits)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(AdvdetectError, match="not finite"):
        log_odds(torch.tensor([[0.0, value]]))


def test_log10_of_scaled_is_finite() -> None:
    value = torch.tensor([[0.0, 1.0], [1e-300, 1e300]], dtype=torch.float64)
    log_scale = torch.tensor([-1e4, 2.0], dtype=torch.float64)
    floor = math.log10(SMALLEST_SQUARE)
    shift = [-1e4 / math.log(10), 2 / math.log(10)]
    expected = [[floor + shift[0], shift[0]], [floor + shift[1], 300 + shift[1]]]
    torch.testing.assert_close(
        log10_of_scaled(value, log_scale), torch.tensor(expected, dtype=torch.float64)
    )
    assert log10_of_scaled(value[:, 0], log_scale, power=2)[0] == 2 * floor + shift[0]
