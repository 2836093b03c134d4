import pytest
import torch
from torch.nn import functional

from advdetect.attacks.losses import (
    difference_of_logits_ratio,
    logit_gradient,
    loss_named,
    targeted_difference_of_logits_ratio,
)
from advdetect.errors import AdvdetectError

LOGITS = torch.tensor([[1.0, 4.0, 2.5, 0.0], [1.0, 4.0, 2.5, 0.0], [3.0, 3.0, 3.0, 3.0]])
LABELS = torch.tensor([1, 2, 0])


def test_difference_of_logits_ratio_by_hand() -> None:
    """The three largest are 4, 2.5 and 1: −(4 − 2.5) / 3 and −(2.5 − 4) / 3."""
    assert difference_of_logits_ratio(LOGITS, LABELS).tolist() == [-0.5, 0.5, 0]


def test_targeted_difference_of_logits_ratio_by_hand() -> None:
    """The denominator is 4 − (1 + 0) / 2."""
    found = targeted_difference_of_logits_ratio(LOGITS, LABELS, torch.tensor([0, 3, 1]))
    assert found.tolist() == pytest.approx([-3 / 3.5, -2.5 / 3.5, 0])


def test_difference_of_logits_ratio_knows_neither_shift_nor_scale() -> None:
    logits = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 5
    moved = 7 * logits + torch.arange(20)[:, None]
    targets = (labels + 2) % 5
    for found, expected in (
        (difference_of_logits_ratio(moved, labels), difference_of_logits_ratio(logits, labels)),
        (
            targeted_difference_of_logits_ratio(moved, labels, targets),
            targeted_difference_of_logits_ratio(logits, labels, targets),
        ),
    ):
        torch.testing.assert_close(found, expected)


def test_margin_by_hand() -> None:
    assert loss_named("margin")(LOGITS, LABELS).tolist() == [-1.5, 1.5, 0]


@pytest.mark.parametrize("name", ["dlr", "margin"])
def test_the_sign_of_a_loss_of_margins_says_whether_the_model_is_wrong(name: str) -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(50) % 5
    wrong = logits.argmax(dim=1) != labels
    assert torch.equal(loss_named(name)(logits, labels) > 0, wrong)


def test_ce_ranks_as_the_cross_entropy_and_has_its_direction() -> None:
    logits = torch.randn(50, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(50) % 5
    entropy = functional.cross_entropy(logits, labels, reduction="none")
    assert torch.equal(loss_named("ce")(logits, labels).argsort(), entropy.argsort())
    expected = logits.softmax(dim=1) - functional.one_hot(labels, 5)
    found = logit_gradient(loss_named("ce"), logits, labels)
    torch.testing.assert_close(functional.normalize(found), functional.normalize(expected))


def test_what_cannot_be_climbed_is_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"must be one of ce, dlr, margin .* not 'hinge'"):
        loss_named("hinge")
    with pytest.raises(AdvdetectError, match="dlr needs at least 3 classes, not 2"):
        difference_of_logits_ratio(LOGITS[:, :2], LABELS)
    with pytest.raises(AdvdetectError, match="dlr_targeted needs at least 4 classes, not 3"):
        targeted_difference_of_logits_ratio(LOGITS[:, :3], LABELS, LABELS)
