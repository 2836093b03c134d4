import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from advdetect.evaluation.bootstrap import poisson_weights, seed_weights
from advdetect.evaluation.perturbation import (
    AttackNorms,
    fooled_within,
    fooling_rate,
    least_perturbations,
    mean_success_norm,
    mean_with_interval,
    rank_correlation,
)
from advdetect.tables.attack_tables import least_perturbation_table
from advdetect.tables.rendering import to_latex, to_text


def norms_table(seed: int, n: int = 30) -> pd.DataFrame:
    """Make norms of images of which a third is never fooled; some norms are equal."""
    generator = np.random.default_rng(seed)
    success = generator.random(n) < 2 / 3
    l2 = np.where(success, generator.integers(1, 12, n) / 4, 0.0)
    index = np.sort(generator.choice(50, n, replace=False))
    value = generator.normal(size=n).round(1) - l2
    return pd.DataFrame({"index": index, "success": success, "l2": l2, "value": value})


@pytest.fixture(scope="module")
def seeds() -> list[pd.DataFrame]:
    return [norms_table(0), norms_table(1), norms_table(2)]


def resampled(table: pd.DataFrame, replicates: int, seed: int) -> list[pd.DataFrame]:
    """Write each replicate out: every row as often as its weight says."""
    weights = poisson_weights(table["index"], replicates, seed)
    return [table.loc[table.index.repeat(row)] for row in weights]


STATISTICS = [
    (mean_success_norm, lambda t: [t["l2"][t["success"]].mean()]),
    (fooling_rate, lambda t: [t["success"].mean()]),
    (
        fooled_within(np.array([0.0, 1.0, 2.5])),
        lambda t: [(t["success"] & (t["l2"] <= r)).mean() for r in (0.0, 1.0, 2.5)],
    ),
    (rank_correlation("value", "l2"), lambda t: [spearmanr(t["value"], t["l2"]).statistic]),
]


@pytest.mark.parametrize(("statistic", "plain"), STATISTICS)
def test_a_weight_counts_an_image_that_many_times(seeds, statistic, plain):
    table = seeds[0]
    weights = poisson_weights(table["index"], 40, 3).astype(float)
    values = statistic(table, weights)
    expected = np.transpose([plain(t) for t in resampled(table, 40, 3)])
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("statistic", "plain"), STATISTICS)
def test_means_and_intervals_are_over_seeds_and_images(seeds, statistic, plain):
    result = mean_with_interval(seeds, statistic, replicates=60, seed=3)
    each = np.array([plain(table) for table in seeds])
    np.testing.assert_allclose(result["value"], each.mean(axis=0))
    np.testing.assert_allclose(result["standard_deviation"], each.std(axis=0, ddof=1))
    replicates = np.array([[plain(t) for t in resampled(table, 60, 3)] for table in seeds])
    means = np.einsum("bs,sbm->mb", seed_weights(3, 60, 3), replicates)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    np.testing.assert_allclose(result["low"], low, atol=1e-12)
    np.testing.assert_allclose(result["high"], high, atol=1e-12)


def test_blocks_of_replicates_change_nothing(seeds, monkeypatch):
    whole = mean_with_interval(seeds, mean_success_norm, replicates=50, seed=0)
    monkeypatch.setattr("advdetect.evaluation.perturbation._BLOCK", 100)
    pd.testing.assert_frame_equal(
        mean_with_interval(seeds, mean_success_norm, replicates=50, seed=0), whole
    )


def test_seeds_without_a_value_are_left_out(seeds):
    never = seeds[0].assign(success=False, l2=0.0)
    alone = mean_with_interval([seeds[1]], mean_success_norm, replicates=50, seed=0)
    beside = mean_with_interval([never, seeds[1]], mean_success_norm, replicates=50, seed=0)
    pd.testing.assert_frame_equal(alone, beside)
    assert alone["standard_deviation"].isna().all()
    nothing = mean_with_interval([never], mean_success_norm, replicates=50, seed=0)
    assert nothing.isna().all(axis=None)
    flat = mean_with_interval(
        [seeds[0].assign(value=1.0)], rank_correlation("value", "l2"), replicates=50, seed=0
    )
    assert flat.isna().all(axis=None)


@pytest.fixture
def attacks(seeds) -> list[AttackNorms]:
    never = seeds[0].assign(success=False, l2=0.0)
    return [
        AttackNorms("fgm_least", True, True, {0: seeds[0], 1: seeds[1]}),
        AttackNorms("fgm", False, True, {0: seeds[0], 1: seeds[1]}),
        AttackNorms("bim_l2_least", True, False, {0: never, 1: never}),
    ]


def test_the_table_of_least_perturbations(attacks, seeds):
    cells = least_perturbations(attacks, replicates=80, seed=5)
    assert cells[["attack", "quantity"]].to_numpy().tolist() == [
        ["fgm_least", "least_l2"],
        ["fgm_least", "fooling_rate"],
        ["bim_l2_least", "least_l2"],
        ["bim_l2_least", "fooling_rate"],
    ]
    norm = cells["value"][0]
    assert norm == pytest.approx(np.mean([t["l2"][t["success"]].mean() for t in seeds[:2]]))
    assert cells["low"][0] < norm < cells["high"][0]
    assert cells["n_positive"][0] == seeds[0]["success"].sum() + seeds[1]["success"].sum()
    assert (cells["n_positive"] + cells["n_negative"] == 60).all()
    table = least_perturbation_table(cells)
    assert table.header == ["Attack", "Mean least L2", "Fooling rate (%)", "Images"]
    (name, found), (_, never) = table.body()
    assert name == "FGM, least ε"
    assert [text.value for text in found] == [f"{norm:.3f}", f"{100 * cells['value'][1]:.1f}", "60"]
    assert found[0].spread == f"[{cells['low'][0]:.3f}, {cells['high'][0]:.3f}]"
    assert [(text.value, text.spread) for text in never] == [
        ("–", ""),
        ("0.0", "[0.0, 0.0]"),
        ("60", ""),
    ]
    assert not any(text.best for _, texts in table.body() for text in texts)
    assert "2 seeds" in table.caption
    assert "FGM, least ε" in to_text(table)
    assert r"$\varepsilon$" in to_latex(table)
    assert set(table.cells["interval"]) == {"none", "95 % bootstrap"}


def test_without_a_minimal_norm_attack_there_is_no_row(attacks):
    assert least_perturbations(attacks[1:2], replicates=10, seed=0).empty
