from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from advdetect.errors import AdvdetectError
from advdetect.evaluation.metrics import evaluate_feature
from advdetect.evaluation.ranking import METRICS, Ranker, detection_metrics, rank
from advdetect.files.scores import CELL
from advdetect.protocol import FALSE_POSITIVE_RATES


def evaluate(seeds: dict[int, pd.DataFrame], **options: Any) -> pd.DataFrame:
    settings = {"replicates": 200, "seed": 7, "primary_detector": "a"} | options
    return evaluate_feature({seed: [table] for seed, table in seeds.items()}, **settings)


def unweighted(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    return detection_metrics(scores, positive, np.ones((1, len(scores))))[:, 0]


def tpr_at_fpr(scores: np.ndarray, positive: np.ndarray, rate: float) -> float:
    """Try every threshold, the infinite one included."""
    best = 0.0
    for threshold in scores:
        flagged = scores >= threshold
        if flagged[~positive].sum() / (~positive).sum() <= rate:
            best = max(best, flagged[positive].sum() / positive.sum())
    return best


def reference(scores: np.ndarray, positive: np.ndarray) -> list[float]:
    return [
        roc_auc_score(positive, scores),
        average_precision_score(positive, scores),
        *(tpr_at_fpr(scores, positive, rate) for rate in FALSE_POSITIVE_RATES),
    ]


@given(st.integers(0, 2**32), st.integers(2, 120), st.integers(1, 30))
@settings(max_examples=60)
def test_values_agree_with_scikit_learn_and_brute_force(seed: int, n: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(levels, size=n).astype(float)  # few levels: many ties
    positive = np.append([True, False], generator.random(n - 2) < 0.4)
    np.testing.assert_allclose(
        unweighted(scores, positive), reference(scores, positive), rtol=0, atol=1e-12
    )


@given(st.integers(0, 2**32), st.booleans())
@settings(max_examples=30)
def test_integer_weights_are_repeated_rows(seed: int, ties: bool) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.normal(size=50)
    scores = scores.round(1) if ties else scores
    positive = generator.random(50) < 0.4
    positive[:2] = True, False
    weights = generator.poisson(1, size=(3, 50))
    weights[:, :2] = 1
    values = detection_metrics(scores, positive, weights)
    for row, column in zip(weights, values.T, strict=True):
        repeated = np.repeat(np.arange(50), row)
        expected = reference(scores[repeated], positive[repeated])
        np.testing.assert_allclose(column, expected, rtol=0, atol=1e-12)


def test_blocks_of_replicates_do_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    scores, positive = generator.normal(size=20), np.arange(20) < 8
    weights = generator.poisson(0.2, size=(57, 20))  # some replicates lack a class
    whole = detection_metrics(scores, positive, weights)
    monkeypatch.setattr("advdetect.evaluation.ranking._BLOCK", 100)
    in_blocks = detection_metrics(scores, positive, weights)
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-14)
    lacking = (weights[:, positive].sum(axis=1) == 0) | (weights[:, ~positive].sum(axis=1) == 0)
    assert lacking.any()
    np.testing.assert_array_equal(np.isnan(whole), np.tile(lacking, (len(METRICS), 1)))


def test_nothing_is_flagged_where_no_threshold_keeps_the_false_positive_rate() -> None:
    # 10 negatives: int(10 * 0.01) = 0, and the highest score is a negative's.
    scores = np.array([*range(10), *range(9)], dtype=float)
    positive = np.arange(19) >= 10
    assert unweighted(scores, positive)[2] == 0
    scores[-1] = 9.0  # tied with the highest negative: still flags one in ten
    assert unweighted(scores, positive)[2] == 0
    scores[-1] = 9.5
    assert unweighted(scores, positive)[2] == 1 / 9


@pytest.mark.parametrize("n", [20, 60, 100, 140, 700])
def test_a_false_positive_rate_met_exactly_is_allowed(n: int) -> None:
    scores = np.append(np.arange(n), n - round(0.05 * n)).astype(float)
    positive = np.arange(n + 1) == n
    # The positive ties with the k-th highest negative, k = 0.05 n, so k negatives are flagged.
    assert unweighted(scores, positive)[3] == 1


def test_perfect_and_infinite_scores() -> None:
    positive = np.array([True, True, False, False])
    for scores in ([2.0, 3.0, 0.0, 1.0], [np.inf, np.inf, -np.inf, 0.0]):
        np.testing.assert_array_equal(unweighted(np.array(scores), positive), 1)


def table(scores: np.ndarray, kinds: np.ndarray, index: np.ndarray, **cell: str) -> pd.DataFrame:
    columns = {**dict.fromkeys(CELL, "a"), **cell}
    return pd.DataFrame({**columns, "index": index, "kind": kinds, "score": scores})


def cluster_table(generator: np.random.Generator, n: int, auc: float = 0.8) -> pd.DataFrame:
    """Binormal scores with this AUROC; an image's rows share a part, so they are correlated."""
    shift = np.sqrt(2) * stats.norm.ppf(auc)
    shared = np.tile(generator.normal(size=n), 3)
    scores = np.sqrt(0.5) * (shared + generator.normal(size=3 * n))
    kinds = np.repeat(["clean", "noisy", "adversarial"], n)
    return table(scores + shift * (kinds == "adversarial"), kinds, np.tile(np.arange(n), 3))


def test_interval_covers_the_true_auroc() -> None:
    auc, trials, covered, outside = 0.8, 150, 0, []
    for trial in range(trials):
        scores = cluster_table(np.random.default_rng(trial), 80, auc)
        row = evaluate({0: scores}, seed=trial).query("metric == 'auroc' and seed == 'mean'")
        low, high = row["low"].item(), row["high"].item()
        covered += low <= auc <= high
        outside.append(low > auc)
    # Accept what a true coverage of 93 % to 96.5 % gives with probability 99.8 %.
    assert stats.binom.ppf(0.001, trials, 0.93) <= covered
    assert covered <= stats.binom.ppf(0.999, trials, 0.965)
    assert 0 < sum(outside) < trials - covered  # it fails on both sides


def test_interval_agrees_with_resampling_images() -> None:
    scores = cluster_table(np.random.default_rng(1), 120)
    by_image = scores.pivot_table(index="index", columns="kind", values="score")
    clean, noisy, adversarial = (
        by_image[kind].to_numpy() for kind in ("clean", "noisy", "adversarial")
    )

    def auroc(rows: np.ndarray) -> float:
        negatives = np.append(clean[rows], noisy[rows])
        values = np.append(negatives, adversarial[rows])
        return float(roc_auc_score(np.arange(len(values)) >= len(negatives), values))

    expected = stats.bootstrap(
        (np.arange(120),),
        auroc,
        n_resamples=800,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(0),
    ).confidence_interval
    row = evaluate({0: scores}, replicates=4000).query("metric == 'auroc' and seed == 'mean'")
    width = expected.high - expected.low
    assert row["low"].item() == pytest.approx(expected.low, abs=0.1 * width)
    assert row["high"].item() == pytest.approx(expected.high, abs=0.1 * width)


def test_own_pairs_of_an_image_count_as_often_as_the_image() -> None:
    generator = np.random.default_rng(5)
    scores = generator.integers(6, size=36).astype(float)  # of 12 images twice, and of 12 others
    positive = np.repeat([True, False, False], 12)
    images = np.append(np.tile(np.arange(12), 2), np.arange(6, 18))
    weights = generator.poisson(1, size=(18, 40))
    found = Ranker(weights).aurocs(rank(scores, positive), images)
    for replicate, value in zip(weights.T, found, strict=True):
        won = total = 0.0
        for p in np.flatnonzero(positive):
            for n in np.flatnonzero(~positive):
                own = images[p] == images[n]
                weight = replicate[images[p]] * (1 if own else replicate[images[n]])
                total += weight
                won += weight * ((scores[n] < scores[p]) + (scores[n] == scores[p]) / 2)
        assert value == pytest.approx(won / total, abs=1e-12)


@pytest.mark.parametrize(("moved", "expected"), [(0.5, 0.525), (1.5, 0.5725), (-0.5, 0.475)])
def test_interval_holds_the_value_where_images_differ_more_than_attacks_move_them(
    moved: float, expected: float
) -> None:
    # With an image's own pairs as often as its weight's square the first was 0.536 to 0.576.
    clean = np.arange(20, dtype=float)
    kinds = np.repeat(["clean", "adversarial"], 20)
    cell = table(np.append(clean, clean + moved), kinds, np.tile(np.arange(20), 2))
    row = evaluate({0: cell}, replicates=2000).query("metric == 'auroc' and seed == 'mean'")
    assert row["value"].item() == pytest.approx(expected)
    assert row["low"].item() < expected < row["high"].item()


def test_mean_and_deviation_over_seeds() -> None:
    seeds = {seed: cluster_table(np.random.default_rng(seed), 50) for seed in (3, 4, 8)}
    result = evaluate(seeds).set_index(["metric", "seed"])
    for metric in METRICS:
        values = [result.loc[(metric, str(seed)), "value"] for seed in seeds]
        mean = result.loc[(metric, "mean")]
        assert mean["value"] == pytest.approx(np.mean(values))
        assert mean["standard_deviation"] == pytest.approx(np.std(values, ddof=1))
        assert np.isnan(result.loc[(metric, "3"), "standard_deviation"])
        assert mean["low"] <= mean["value"] <= mean["high"]
    assert result.loc[("auroc", "mean"), "n_positive"] == 150
    assert result.loc[("auroc", "3"), "n_negative"] == 100


def test_interval_of_the_mean_contains_the_spread_between_seeds() -> None:
    """Seeds that differ much more than images do: the mean's interval is as wide as their spread.

    With two seeds a replicate draws the same seed twice half of the time, so its limits are those
    of the seeds themselves.
    """
    seeds = {
        seed: cluster_table(np.random.default_rng(seed), 400, auc)
        for seed, auc in enumerate((0.6, 0.95))
    }
    result = evaluate(seeds).query("metric == 'auroc'").set_index("seed")
    assert result.loc["0", "low"] <= result.loc["mean", "low"] <= result.loc["0", "value"]
    assert result.loc["1", "value"] <= result.loc["mean", "high"] <= result.loc["1", "high"]


def test_one_seed_is_its_own_mean() -> None:
    result = evaluate({5: cluster_table(np.random.default_rng(5), 30)})
    first, mean = (
        result[result["seed"] == seed].drop(columns="seed").reset_index(drop=True)
        for seed in ("5", "mean")
    )
    pd.testing.assert_frame_equal(first, mean)
    assert mean["standard_deviation"].isna().all()


def test_a_cell_does_not_depend_on_other_cells() -> None:
    first = cluster_table(np.random.default_rng(0), 40)
    second = cluster_table(np.random.default_rng(1), 70).assign(tested_on="b")
    together = evaluate({0: pd.concat([second, first], ignore_index=True)})
    alone = evaluate({0: first})
    together = together[together["tested_on"] == "a"].reset_index(drop=True)
    pd.testing.assert_frame_equal(together, alone)


def test_equal_scores_of_two_detectors_have_equal_intervals() -> None:
    first = cluster_table(np.random.default_rng(0), 40)
    shuffled = first.sample(frac=1, random_state=3).assign(detector="b")
    result = evaluate({0: pd.concat([first, shuffled], ignore_index=True)})
    a, b = (
        result[result["detector"] == name].drop(columns="detector").reset_index(drop=True)
        for name in "ab"
    )
    pd.testing.assert_frame_equal(a, b, rtol=1e-12)


def test_replicates_are_spent_on_the_diagonal_and_the_primary_detector(
    metrics: pd.DataFrame,
) -> None:
    has_value = metrics["value"].notna()
    shown = (metrics["bits"] == "float32") & (metrics["positives"] == "successful")
    wanted = (metrics["trained_on"] == metrics["tested_on"]) | (
        (metrics["detector"] == "logistic_regression") & shown
    )
    assert (has_value & ~wanted & (metrics["detector"] == "logistic_regression")).any()
    np.testing.assert_array_equal(metrics["low"].notna(), has_value & wanted)
    np.testing.assert_array_equal(metrics["high"].notna(), has_value & wanted)


@pytest.mark.parametrize("kept", [("clean", "noisy"), ("adversarial",)])
def test_a_cell_without_one_of_the_classes_has_no_value(kept: tuple[str, ...]) -> None:
    scores = cluster_table(np.random.default_rng(0), 10)
    result = evaluate({0: scores[scores["kind"].isin(kept)]})
    assert result[["value", "standard_deviation", "low", "high"]].isna().all(axis=None)
    assert (result[["n_positive", "n_negative"]].min(axis=1) == 0).all()


def test_a_seed_without_positives_is_left_out_of_the_mean() -> None:
    good = cluster_table(np.random.default_rng(0), 30)
    empty = good[good["kind"] != "adversarial"]
    result = evaluate({0: good, 1: empty}).query("metric == 'auroc'").set_index("seed")
    assert np.isnan(result.loc["1", "value"])
    assert result.loc["mean", "value"] == result.loc["0", "value"]
    assert result.loc["mean", ["low", "high"]].equals(result.loc["0", ["low", "high"]])
    assert result.loc["mean", "n_positive"] == 30


def test_a_cell_without_scores_has_no_value_and_touches_no_other() -> None:
    scored = cluster_table(np.random.default_rng(0), 30)
    unscored = scored.assign(trained_on="b", score=np.nan)
    result = evaluate({0: pd.concat([unscored, scored], ignore_index=True), 1: scored})
    none, one = (result[result["trained_on"] == name] for name in "ba")
    assert none[["value", "standard_deviation", "low", "high"]].isna().all(axis=None)
    assert (none[["n_positive", "n_negative"]] == [30, 60]).all(axis=None)
    alone = evaluate({0: scored, 1: scored})
    pd.testing.assert_frame_equal(one.reset_index(drop=True), alone)


def test_a_seed_without_scores_is_left_out_of_the_mean() -> None:
    scored = cluster_table(np.random.default_rng(0), 30)
    result = evaluate({0: scored, 1: scored.assign(score=np.nan)})
    result = result.query("metric == 'auroc'").set_index("seed")
    assert np.isnan(result.loc["1", "value"])
    columns = ["value", "low", "high"]
    assert result.loc["mean", columns].equals(result.loc["0", columns])


def test_one_positive_has_an_interval() -> None:
    scores = cluster_table(np.random.default_rng(0), 30)
    scores = scores[(scores["kind"] != "adversarial") | (scores["index"] == 4)]
    result = evaluate({0: scores}).query("metric == 'auroc' and seed == 'mean'")
    assert result["n_positive"].item() == 1
    assert 0 <= result["low"].item() <= result["high"].item() <= 1


def test_cells_keep_their_order_with_categories(metrics: pd.DataFrame) -> None:
    assert list(metrics["tested_on"].unique()) == ["fgsm", "cw_l2,kappa=10", "deepfool"]
    assert list(metrics["bits"].unique()) == ["float32", "8bit"]
    assert set(metrics["seed"]) == {"0", "1", "mean"}


def test_bad_tables_are_refused() -> None:
    scores = cluster_table(np.random.default_rng(0), 5)
    with pytest.raises(AdvdetectError, match="at least one seed"):
        evaluate({})
    with pytest.raises(AdvdetectError, match="seed 2 lack the columns score"):
        evaluate({2: scores.drop(columns="score")})
    with pytest.raises(AdvdetectError, match="kind 'dirty'"):
        evaluate({0: scores.assign(kind="dirty")})
    with pytest.raises(AdvdetectError, match="contain 5 NaN, the first for detector 'a'"):
        evaluate({0: scores.assign(score=scores["score"].where(scores["kind"] != "noisy"))})
