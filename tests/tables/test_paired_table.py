import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.metrics import MEAN
from advdetect.tables.paired_table import against_best, paired_table
from advdetect.tables.rendering import to_latex, to_markdown, to_text
from advdetect.tables.table import p_value_text

AUROCS = {"kd": 0.8, "bu": 0.9, "lid": 0.89}
P_VALUES = {("kd", "bu"): 0.0004, ("kd", "lid"): 0.002, ("bu", "lid"): 0.4}


def paired_of(attack: str, aurocs: dict[str, float]) -> pd.DataFrame:
    rows = [
        (attack, a, b, aurocs[a], aurocs[b], aurocs[a] - aurocs[b], p)
        for (a, b), p in P_VALUES.items()
    ]
    columns = ["attack", "feature", "other", "auroc", "auroc_other", "difference", "p_value_holm"]
    tests = pd.DataFrame(rows, columns=columns)
    low, high = tests["difference"] - 0.02, tests["difference"] + 0.01
    counts = {"n_seeds": 1, "n_positive": 5, "n_negative": 9}
    return tests.assign(low=low, high=high, p_value=tests["p_value_holm"] / 3, **counts)


@pytest.fixture
def tests() -> pd.DataFrame:
    failed = paired_of("jsma", dict.fromkeys(AUROCS, np.nan))
    failed[["difference", "low", "high", "p_value", "p_value_holm"]] = np.nan
    return pd.concat([paired_of("fgsm", AUROCS), failed], ignore_index=True)


def test_every_feature_is_compared_with_the_best_of_the_attack(tests: pd.DataFrame) -> None:
    cells = against_best(tests).set_index(["attack", "feature"])
    assert list(cells.loc["fgsm"].index) == list(AUROCS)
    assert set(cells.loc["fgsm", "best"]) == {"bu"}
    columns = ["value", "low", "high", "p_value"]
    np.testing.assert_allclose(cells.loc[("fgsm", "kd"), columns], [-0.1, -0.12, -0.09, 0.0004])
    # In the test bu stands first: the interval is that of the opposite difference.
    np.testing.assert_allclose(cells.loc[("fgsm", "lid"), columns], [-0.01, -0.02, 0.01, 0.4])
    assert cells.loc[("fgsm", "bu"), "value"] == 0
    assert cells.loc[("fgsm", "bu"), columns[1:]].isna().all()
    assert cells.loc["jsma", columns].isna().all(axis=None)


def test_the_best_is_that_of_the_metrics(paired: pd.DataFrame, metrics: pd.DataFrame) -> None:
    for (attack, best), cells in against_best(paired).groupby(["attack", "best"], sort=False):
        values = metrics[
            (metrics["metric"] == "auroc")
            & (metrics["seed"] == MEAN)
            & (metrics["detector"] == "logistic_regression")
            & (metrics["bits"] == "float32")
            & (metrics["positives"] == "successful")
            & (metrics["trained_on"] == attack)
            & (metrics["tested_on"] == attack)
        ].set_index("feature")["value"]
        difference = values - values[best]
        np.testing.assert_array_equal(cells.set_index("feature")["value"], difference)
        assert not (difference > 0).any()


def test_the_table_marks_what_cannot_be_told_from_the_best(tests: pd.DataFrame) -> None:
    table = paired_table(tests, detector="random_forest")
    body = {name: cells[0] for name, cells in table.body()}
    shown = {name: (c.value, c.spread, c.test, c.best) for name, c in body.items()}
    assert shown == {
        "KD": ("−10.0", "[−12.0, −9.0]", "p < 0.001", False),
        "BU": ("0.0", "", "", True),
        "LID": ("−1.0", "[−2.0, 1.0]", "p = 0.4", True),
    }
    assert body["KD"].number == pytest.approx(-0.1)
    assert [cells[1].value for _, cells in table.body()] == ["–"] * 3
    assert "for all 3 pairs" in table.caption
    assert r"−10.0 [−12.0, −9.0] p \< 0.001" in to_markdown(table)
    assert "**−1.0** [−2.0, 1.0] p = 0.4" in to_markdown(table)
    assert "−1.0* [−2.0, 1.0] p = 0.4" in to_text(table)
    cell = r"\shortstack{$-$10.0\\\scriptsize [$-$12.0, $-$9.0]\\\scriptsize p \textless{} 0.001}"
    assert cell in to_latex(table)


def test_controls_are_left_out(tests: pd.DataFrame) -> None:
    cells = against_best(tests, controls=["bu"])
    assert list(cells.loc[cells["attack"] == "fgsm", "feature"]) == ["kd", "lid"]
    assert set(cells.loc[cells["attack"] == "fgsm", "best"]) == {"lid"}
    assert against_best(tests[:0]).empty


def test_p_values_are_shown_with_two_digits() -> None:
    values = [1.0, 0.2349, 0.05, 0.00123, 0.0009, np.nan]
    texts = ["p = 1", "p = 0.23", "p = 0.05", "p = 0.0012", "p < 0.001", ""]
    assert [p_value_text(value) for value in values] == texts
