import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from advdetect.fisher.alias import alias_table, draw_classes
from advdetect.randomness import SampleGenerator

weights = st.lists(st.floats(0, 1), min_size=1, max_size=30).filter(lambda row: sum(row) > 0)


@settings(max_examples=100)
@given(weights)
def test_columns_of_the_table_add_up_to_the_distribution(row: list[float]) -> None:
    expected = torch.tensor(row, dtype=torch.float64) / sum(row)
    threshold, alias = (torch.tensor(part) for part in alias_table(expected.tolist()))
    assert ((threshold >= 0) & (threshold <= 1)).all()
    total = threshold.double().index_add(0, alias, 1 - threshold.double()) / len(row)
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-7)


def test_frequencies_are_the_probabilities() -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)).double() * 1.5
    p = logits.softmax(dim=1)
    drawn = draw_classes(p, 50_000, SampleGenerator(1, range(3)))
    assert drawn.shape == (3, 50_000)
    for row, probabilities in zip(drawn, p, strict=True):
        counts = row.bincount(minlength=40).numpy()
        # The draws of one seed are fixed; a wrong table gives a p-value of zero.
        assert chisquare(counts, 50_000 * probabilities.numpy()).pvalue > 0.01


@pytest.mark.parametrize("probabilities", [[1.0], [0.0, 1.0, 0.0], [1e-300, 1.0]])
def test_impossible_classes_are_never_drawn(probabilities: list[float]) -> None:
    p = torch.tensor([probabilities], dtype=torch.float64)
    drawn = draw_classes(p, 1000, SampleGenerator(0, [0]))
    assert (drawn == p.argmax()).all()


def test_draws_belong_to_the_image() -> None:
    p = torch.rand(6, 9, generator=torch.Generator().manual_seed(0)).double().softmax(dim=1)
    together = draw_classes(p, 20, SampleGenerator(3, range(6)))
    alone = torch.cat([draw_classes(p[i : i + 1], 20, SampleGenerator(3, [i])) for i in range(6)])
    assert torch.equal(together, alone)
