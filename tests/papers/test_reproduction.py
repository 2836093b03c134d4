import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import mean_with_interval
from advdetect.papers.reproduction import (
    Cell,
    auroc,
    compare,
    reported_cells,
    summarize,
)
from advdetect.tables.rendering import to_markdown
from advdetect.tables.reproduction_tables import reproduction_tables

TABLE = pd.DataFrame(
    {
        "dataset": ["mnist", "mnist", "cifar10"],
        "attack": ["cw_l2", "ead_l1", "cw_l2"],
        "kappa": [5, 10, 5],
        "defense": ["magnet", "mid", "magnet"],
        "accuracy_percent": [94.6, 46.9, 50.0],
    }
)


def mean_of_value(table, weights):
    total = weights.sum(axis=1)
    mean = np.full(len(weights), np.nan)
    return np.divide(weights @ table["value"].to_numpy(), total, out=mean, where=total > 0)[None]


def cell(row, values, column="", quantity="auroc"):
    table = pd.DataFrame({"index": range(len(values)), "value": values})
    return Cell(row, column, quantity, [table], mean_of_value)


def reported(**values):
    return pd.DataFrame(
        [{"row": row, "column": "", "quantity": "auroc", "value": v} for row, v in values.items()]
    )


def compared(readings, known):
    return compare(readings, known, replicates=200, seed=0)


def test_reported_values_are_those_of_our_data_set_as_shares_and_under_their_own_names():
    cells = reported_cells(
        TABLE,
        dataset="mnist",
        rows=["attack", "kappa"],
        columns="defense",
        values={"accuracy_percent": "defense_accuracy"},
    )
    assert cells[["row", "column", "quantity"]].to_numpy().tolist() == [
        ["cw_l2,kappa=5", "magnet", "defense_accuracy"],
        ["ead_l1,kappa=10", "mid", "defense_accuracy"],
    ]
    assert cells["value"].tolist() == pytest.approx([0.946, 0.469])
    assert cells["attack"].tolist() == ["cw_l2", "ead_l1"]


def test_each_column_of_values_is_a_quantity():
    table = pd.DataFrame({"attack": ["fgm"], "mean_least_l2": [2.11], "fooling_rate_percent": [95]})
    cells = reported_cells(
        table,
        dataset="any",
        rows=["attack"],
        columns=None,
        values={"mean_least_l2": "least_l2", "fooling_rate_percent": "fooling_rate"},
    )
    assert dict(zip(cells["quantity"], cells["value"], strict=True)) == {
        "least_l2": 2.11,
        "fooling_rate": 0.95,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "fruits360"}, "no reported values for fruits360; there are for: cifar10, mn"),
        ({"rows": ["attak"]}, "have no column attak; they have: dataset, attack"),
    ],
)
def test_missing_reported_values_say_what_there_is(change, said):
    arguments = {"dataset": "mnist", "rows": ["attack"], "columns": None}
    with pytest.raises(AdvdetectError, match=said):
        reported_cells(TABLE, **arguments | change, values={"accuracy_percent": "auroc"})


def test_the_area_is_that_of_scikit_learn_for_any_weights():
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "kind": random.choice(["clean", "noisy", "adversarial"], 60),
            "score": random.integers(0, 9, 60) / 3,  # with ties
        }
    )
    weights = random.integers(0, 4, (5, 60)).astype(float)
    positive = table["kind"] == "adversarial"
    expected = [roc_auc_score(positive, table["score"], sample_weight=row) for row in weights]
    np.testing.assert_allclose(auroc(table, weights)[0], expected)


def test_without_negatives_there_is_no_area():
    table = pd.DataFrame({"kind": ["adversarial"] * 3, "score": [1.0, 2.0, 3.0]})
    assert np.isnan(auroc(table, np.ones((2, 3)))).all()


def test_the_verdict_says_where_the_reported_value_lies():
    values = np.arange(100) / 99  # mean 0.5, standard error 0.029
    cells = [cell(name, values) for name in ("inside", "low", "high", "unreported")]
    table = compared({"one": cells}, reported(inside=0.51, low=0.3, high=0.7))
    assert table["verdict"].tolist() == ["within", "above", "below", ""]
    assert table["value"].tolist() == pytest.approx([50.0] * 4)
    assert table["difference"].tolist()[:3] == pytest.approx([-1.0, 20.0, -20.0])
    own = mean_with_interval(cells[0].seeds, mean_of_value, replicates=200, seed=0)
    assert table["low"].tolist() == pytest.approx([100 * own["low"][0]] * 4)


def test_norms_are_not_turned_into_percent():
    known = reported(fgm=2.1).assign(quantity="least_l2")
    table = compared({"one": [cell("fgm", [2.0, 2.2], quantity="least_l2")]}, known)
    assert table["value"].tolist() == pytest.approx([2.1])
    assert table["reported"].tolist() == [2.1]


@pytest.mark.parametrize(("value", "low", "high"), [(1.0, None, 100), (0.0, 0, None)])
def test_a_share_of_all_or_none_has_the_exact_interval(value, low, high):
    exact = binomtest(round(40 * value), 40).proportion_ci(0.95, "exact")
    share = cell("a", [value] * 40, quantity="defense_accuracy")
    known = reported(a=0.5).assign(quantity="defense_accuracy")
    row = compared({"one": [share]}, known).iloc[0]
    assert row["low"] == pytest.approx(100 * exact.low if low is None else low)
    assert row["high"] == pytest.approx(100 * exact.high if high is None else high)


def test_nothing_to_compare_is_an_error():
    with pytest.raises(AdvdetectError, match="mend the names of its readings"):
        compared({"one": []}, reported(a=0.5))


def test_a_reading_whose_names_the_paper_does_not_have_is_an_error():
    readings = {"one": [cell("kd", [0.1, 0.9])], "two": [cell("dk", [0.1, 0.9])]}
    with pytest.raises(AdvdetectError, match="The reading two has no cell that is reported"):
        compared(readings, reported(kd=0.5))


def test_the_summary_counts_the_verdicts_of_each_reading():
    values = np.arange(100) / 99
    known = reported(a=0.5, b=0.1)
    table = compared({"x": [cell("a", values), cell("b", values)], "y": [cell("a", values)]}, known)
    counts = summarize(table).set_index("reading")
    assert counts.loc["x", ["cells", "within", "above", "below"]].tolist() == [2, 1, 1, 0]
    assert counts.loc["y", ["cells", "within", "above", "below"]].tolist() == [1, 1, 0, 0]
    assert counts["mean_absolute_difference"].tolist() == pytest.approx([20.0, 0.0])


def test_differences_of_several_units_have_no_mean():
    cells = [cell("a", [0.5, 0.5]), cell("a", [2.0, 2.0], quantity="least_l2")]
    known = pd.concat([reported(a=0.5), reported(a=2.0).assign(quantity="least_l2")])
    assert summarize(compared({"x": cells}, known))["mean_absolute_difference"].isna().all()


def test_the_tables_show_the_first_reading_in_full_and_all_of_them_side_by_side():
    values = np.arange(100) / 99
    readings = {"ε = 1": [cell("kd", values, "fgm")], "ε = 2": [cell("kd", values / 2, "fgm")]}
    known = reported(kd=0.7).assign(column="fgm")
    first, summary, readings_table = reproduction_tables("t", "Table", compared(readings, known))
    assert "| KD, FGM |      70.00 | 50.00 " in to_markdown(first)
    assert "\N{MINUS SIGN}20.00 below |" in to_markdown(first)
    assert summary.header == [
        "Reading",
        "Cells",
        "Within",
        "Above",
        "Below",
        "Mean absolute difference",
    ]
    assert readings_table.header == ["Cell", "Reported", "ε = 1", "ε = 2"]
    ((name, texts),) = readings_table.body()
    assert (name, [text.value for text in texts]) == ("KD, FGM", ["70.00", "50.00", "25.00"])
    assert (
        len(reproduction_tables("t", "Table", compared({"ε = 1": readings["ε = 1"]}, known))) == 2
    )
