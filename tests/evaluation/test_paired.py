import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from advdetect.errors import AdvdetectError
from advdetect.evaluation.metrics import evaluate_feature
from advdetect.evaluation.paired import COLUMNS, holm, paired_tests

CELL = {"detector": "d", "bits": "float32", "positives": "successful"}


def score_rows(
    positive: np.ndarray, negative: np.ndarray, attack: str = "fgsm", twins: bool = False
) -> pd.DataFrame:
    """Make a table of scores; with `twins` the clean images are those of the adversarials."""
    index = [np.arange(len(positive)), np.arange(len(negative)) + len(positive) * (not twins)]
    kinds = np.repeat(["adversarial", "clean"], [len(positive), len(negative)])
    names = {**CELL, "trained_on": attack, "tested_on": attack}
    scores = np.concatenate([positive, negative])
    return pd.DataFrame({**names, "index": np.concatenate(index), "kind": kinds, "score": scores})


def correlated(
    generator: np.random.Generator, n: int, shifts: tuple[float, ...], **options: bool
) -> list[pd.DataFrame]:
    """Make scores of features that share half of their variance, each with its own separation."""
    shared_positive, shared_negative = generator.normal(size=(2, n))
    return [
        score_rows(
            shift + shared_positive + generator.normal(size=n),
            shared_negative + generator.normal(size=n),
            **options,
        )
        for shift in shifts
    ]


def delong(first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, float, float]:
    """Compare two AUROCs as DeLong, DeLong & Clarke-Pearson 1988 do.

    Returns:
        Their difference, its standard error and the two-sided p value.
    """
    by_positive, by_negative = [], []
    for table in (first, second):
        positive = table.loc[table["kind"] == "adversarial", "score"].to_numpy(np.float64)
        negative = table.loc[table["kind"] == "clean", "score"].to_numpy(np.float64)
        order = np.sign(positive[:, None] - negative[None])
        placements = 0.5 + order / 2
        by_positive.append(placements.mean(axis=1))
        by_negative.append(placements.mean(axis=0))
    difference = by_positive[0].mean() - by_positive[1].mean()
    variance = sum(
        np.var(values[0] - values[1], ddof=1) / len(values[0])
        for values in (by_positive, by_negative)
    )
    error = float(np.sqrt(variance))
    return difference, error, 2 * stats.norm.sf(abs(difference) / error)


@pytest.mark.parametrize(
    ("number", "shifts"), [(0, (1.0, 1.3)), (1, (0.5, 1.5)), (2, (1.0, 1.0)), (3, (2.5, 0.8))]
)
def test_a_test_of_one_seed_agrees_with_delong(number: int, shifts: tuple[float, float]) -> None:
    first, second = correlated(np.random.default_rng(number), 250, shifts)
    difference, error, p_value = delong(first, second)
    row = paired_tests({"a": {0: first}, "b": {0: second}}, replicates=4000, seed=number).iloc[0]
    assert row["difference"] == pytest.approx(difference, abs=1e-12)
    # 4000 replicates know a standard deviation to about one percent.
    assert (row["high"] - row["low"]) / (2 * 1.96) == pytest.approx(error, rel=0.06)
    z, expected = (stats.norm.isf(p / 2) for p in (row["p_value"], p_value))
    assert z == pytest.approx(expected, rel=0.05, abs=0.03)


def test_p_values_are_uniform_where_features_are_equally_good() -> None:
    """The images' clean and adversarial rows belong together here, which DeLong's test ignores."""
    trials = 150
    p_values = []
    for trial in range(trials):
        first, second = correlated(np.random.default_rng(trial), 60, (1.0, 1.0), twins=True)
        row = paired_tests({"a": {0: first}, "b": {0: second}}, replicates=200, seed=trial)
        p_values.append(row["p_value"].item())
    rejected = np.sum(np.array(p_values) < 0.05)
    # Accept what a true level of 3 % to 7 % gives with probability 99.8 %.
    assert stats.binom.ppf(0.001, trials, 0.03) <= rejected <= stats.binom.ppf(0.999, trials, 0.07)
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_permuted_labels_leave_nothing_to_find() -> None:
    """Ten useless features: the best of them is not found better than any other."""
    found = 0
    for trial in range(40):
        generator = np.random.default_rng(trial)
        kinds = generator.permutation(np.repeat(["adversarial", "clean"], 40))
        features = {}
        for number in range(10):
            table = score_rows(*generator.normal(size=(2, 40)))
            features[f"f{number}"] = {0: table.assign(kind=kinds)}
        result = paired_tests(features, replicates=200, seed=trial)
        assert len(result) == 45
        found += (result["p_value_holm"] < 0.05).any()
    # At a level of 5 % more than 6 of 40 have a probability of 0.3 %.
    assert found <= 6


def test_seeds_are_averaged_and_drawn_as_the_metrics_are() -> None:
    """Against a feature that is always right, the difference has the interval of the other."""
    generator = np.random.default_rng(5)
    seeds = {run: correlated(generator, 80, (1.0,))[0] for run in (3, 4, 8)}
    oracle = {
        run: table.assign(score=(table["kind"] == "adversarial") * 1.0)
        for run, table in seeds.items()
    }
    row = paired_tests({"oracle": oracle, "a": seeds}, replicates=300, seed=9).iloc[0]
    metrics = evaluate_feature(
        {number: [table] for number, table in seeds.items()},
        replicates=300,
        seed=9,
        primary_detector="d",
    )
    mean = metrics.query("metric == 'auroc' and seed == 'mean'").iloc[0]
    assert (row["auroc"], row["auroc_other"]) == (1.0, mean["value"])
    assert row["difference"] == 1 - mean["value"]
    assert row["low"] == pytest.approx(1 - mean["high"], abs=1e-12)
    assert row["high"] == pytest.approx(1 - mean["low"], abs=1e-12)
    assert row["n_seeds"] == 3
    assert (row["n_positive"], row["n_negative"]) == (mean["n_positive"], mean["n_negative"])


def test_pairs_are_those_of_each_attack_and_do_not_depend_on_others() -> None:
    generator = np.random.default_rng(0)
    tables = correlated(generator, 50, (0.5, 1.0, 1.5))
    other = correlated(generator, 30, (0.5, 1.0, 1.5), attack="bim")
    both = {
        name: {0: pd.concat(pair, ignore_index=True)}
        for name, pair in zip("abc", zip(tables, other, strict=True), strict=True)
    }
    result = paired_tests(both, replicates=100, seed=1)
    assert list(result.columns) == COLUMNS
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    found = list(result[["attack", "feature", "other"]].itertuples(index=False, name=None))
    assert found == [(attack, *pair) for attack in ("fgsm", "bim") for pair in pairs]
    alone = paired_tests({"b": {0: tables[1]}, "c": {0: tables[2]}}, replicates=100, seed=1)
    columns = ["difference", "low", "high", "p_value"]
    np.testing.assert_array_equal(result.loc[2, columns], alone.loc[0, columns])
    np.testing.assert_array_equal(result["p_value_holm"], holm(result["p_value"]))


def test_features_that_rank_the_same_do_not_differ() -> None:
    (table,) = correlated(np.random.default_rng(0), 40, (1.0,))
    same = table.assign(score=np.exp(table["score"]))
    row = paired_tests({"a": {0: table}, "b": {0: same}}, replicates=50, seed=0).iloc[0]
    assert row[["difference", "low", "high", "p_value", "p_value_holm"]].tolist() == [0, 0, 0, 1, 1]


def test_a_difference_without_spread_is_as_sure_as_its_replicates() -> None:
    useless = score_rows(np.zeros(9), np.zeros(9))
    perfect = score_rows(np.ones(9), np.zeros(9))
    row = paired_tests({"a": {0: perfect}, "b": {0: useless}}, replicates=99, seed=0).iloc[0]
    assert row["difference"] == 0.5
    assert 2 / 100 <= row["p_value"] < 0.03  # some replicates may give no weight to a class


def test_one_feature_is_compared_with_nothing() -> None:
    (table,) = correlated(np.random.default_rng(0), 20, (1.0,))
    result = paired_tests({"a": {0: table}}, replicates=20, seed=0)
    assert result.empty
    assert list(result.columns) == COLUMNS


def test_a_cell_without_positives_has_no_test() -> None:
    first, second = correlated(np.random.default_rng(0), 20, (1.0, 2.0))
    empty = first[first["kind"] == "clean"]
    row = paired_tests({"a": {0: empty}, "b": {0: second}}, replicates=20, seed=0).iloc[0]
    assert row[["difference", "low", "high", "p_value", "p_value_holm"]].isna().all()
    assert row["n_seeds"] == 0
    # A seed without a value is left out of the mean.
    seeds = {"a": {0: empty, 1: first}, "b": {0: second, 1: second}}
    row = paired_tests(seeds, replicates=20, seed=0).iloc[0]
    alone = paired_tests({"a": {1: first}, "b": {1: second}}, replicates=20, seed=0).iloc[0]
    pd.testing.assert_series_equal(row, alone)


def test_a_feature_without_the_detector_is_compared_with_nothing() -> None:
    first, second = correlated(np.random.default_rng(0), 20, (1.0, 2.0))
    result = paired_tests({"a": {0: first[:0]}, "b": {0: second}}, replicates=20, seed=0)
    assert len(result) == 1
    assert result["p_value"].isna().all()
    with pytest.raises(AdvdetectError, match=r"^There are no scores of the primary detector"):
        paired_tests({"a": {0: first[:0]}}, replicates=20, seed=0)


def test_bad_scores_are_refused() -> None:
    (table,) = correlated(np.random.default_rng(0), 5, (1.0,))
    with pytest.raises(AdvdetectError, match="seed 7 lack the columns index"):
        paired_tests({"a": {7: table.drop(columns="index")}}, replicates=20, seed=0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(0, 2))
@settings(max_examples=60)
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float], missing: int) -> None:
    """A hypothesis is rejected where every intersection that contains it is."""
    numbers = range(len(p_values))
    subsets = [
        chosen
        for size in range(1, len(p_values) + 1)
        for chosen in itertools.combinations(numbers, size)
    ]
    bonferroni = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in subsets}
    expected = [max(bonferroni[s] for s in subsets if i in s) for i in numbers]
    found = holm([*p_values, *[np.nan] * missing])
    np.testing.assert_allclose(found[: len(p_values)], expected, rtol=1e-15, atol=0)
    assert np.isnan(found[len(p_values) :]).all()
