import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.tables.attack_tables import attack_table
from advdetect.tables.table import CellFormat, CellText, Table
from advdetect.tables.tables import (
    cross_attack_table,
    detection_table,
    detector_table,
)

CONTROLS = ("random_scores", "true_labels")


def detection(metrics: pd.DataFrame, **changes: object) -> Table:
    arguments = {"detector": "random_forest", "bits": "8bit", "positives": "all", **changes}
    return detection_table(metrics, **arguments)  # type: ignore[arg-type]


def small_table(values: dict[tuple[str, str], float], **fields: object) -> Table:
    cells = pd.DataFrame(
        [
            {"feature": row, "attack": column, "value": value, "low": value, "high": value}
            for (row, column), value in values.items()
        ]
    ).assign(standard_deviation=np.nan, n_positive=1, n_negative=1, interval="none")
    return Table("t", "A caption.", "feature", "attack", cells, **fields)  # type: ignore[arg-type]


def test_detection_table_holds_the_means_of_the_diagonal(metrics: pd.DataFrame) -> None:
    table = detection(metrics)
    cells = table.cells.set_index(["feature", "attack"])
    assert len(cells) == 2 * 3
    for (feature, attack), cell in cells.iterrows():
        seeds = metrics[
            (metrics["feature"] == feature)
            & (metrics["detector"] == "random_forest")
            & (metrics["trained_on"] == attack)
            & (metrics["tested_on"] == attack)
            & (metrics["bits"] == "8bit")
            & (metrics["positives"] == "all")
            & (metrics["metric"] == "auroc")
            & (metrics["seed"] != "mean")
        ]
        assert cell["value"] == pytest.approx(seeds["value"].mean())
        assert cell["standard_deviation"] == pytest.approx(seeds["value"].std())
        assert cell["n_positive"] == 2 * 40
    assert table.header == ["Feature", "FGSM", "C&W L2 (kappa=10)", "DeepFool"]
    assert [name for name, _ in table.body()] == ["BU", "Input Fisher eigenvalues"]
    assert "all adversarials" in table.caption
    assert "rounded to 8 bits" in table.caption
    assert "2 seeds" in table.caption


def test_cells_without_a_value_show_a_dash(metrics: pd.DataFrame) -> None:
    table = detection(metrics, positives="successful")
    for _, texts in table.body():
        assert texts[2] == CellText("–", "", False, note=1)
        assert texts[0].spread.startswith("[")
    empty = table.cells[table.cells["attack"] == "deepfool"]
    assert (empty["n_positive"] == 0).all()
    assert set(empty["interval"]) == {"none"}
    assert table.notes == list(empty["reason"].unique())
    assert all(table.notes)


def test_cross_attack_table_covers_every_pair(metrics: pd.DataFrame) -> None:
    table = cross_attack_table(
        metrics,
        feature="fisher_input",
        detector="logistic_regression",
        bits="float32",
        positives="successful",
    )
    pairs = set(zip(table.cells["trained_on"], table.cells["tested_on"], strict=True))
    assert len(pairs) == len(table.cells) == 9
    assert table.header[0] == "Trained on"
    has_value = table.cells["value"].notna()
    assert has_value.sum() == 2 * 3  # no cell has one that is tested on what never succeeds
    assert (table.cells["low"].notna() == has_value).all()
    off_diagonal = cross_attack_table(
        metrics, feature="bu", detector="random_forest", bits="float32", positives="successful"
    ).cells.query("trained_on != tested_on")
    assert off_diagonal["low"].isna().all()


def test_detector_table_averages_over_attacks_with_a_value(metrics: pd.DataFrame) -> None:
    table = detector_table(metrics, bits="float32", positives="successful", controls=CONTROLS)
    cells = table.cells.set_index(["feature", "detector"])
    one = detection(
        metrics, detector="logistic_regression", bits="float32", positives="successful"
    ).cells.query("feature == 'bu' and attack != 'deepfool'")
    cell = cells.loc[("bu", "logistic_regression")]
    assert cell["value"] == pytest.approx(one["value"].mean())
    assert cell["low"] == one["value"].min()
    assert cell["high"] == one["value"].max()
    assert cells.loc[("bu", "true_labels"), "value"] == 1
    # Both features tie at 100 with the true labels: a control's column has no best.
    marks = [[text.best for text in texts] for _, texts in table.body()]
    assert marks == [[False, False, False, False], [True, True, False, False]]


def test_attack_table_averages_over_seeds(attack_summary: pd.DataFrame) -> None:
    table = attack_table(attack_summary)
    assert table.header == ["Attack", "Images", "Success (%)", "Mean L2"]
    texts = dict(table.body())
    assert texts["FGSM"] == [
        CellText("40", "", False),
        CellText("80.0", "± 14.1", False),
        CellText("1.600", "± 0.141", False),
    ]
    # A seed in which no attack succeeded has no distance.
    assert texts["C&W L2 (kappa=10)"][2] == CellText("0.250", "", False)
    assert set(table.cells["n_positive"]) == {80}


def test_best_is_marked_per_column_without_controls() -> None:
    values = {
        ("a", "x"): 0.91,
        ("b", "x"): 0.95,
        ("c", "x"): 0.9501,
        ("oracle", "x"): 0.9502,  # ties with the best, but is not compared
        ("a", "y"): np.nan,
        ("b", "y"): 0.5,
        ("c", "y"): np.nan,
        ("oracle", "y"): 1.0,
    }
    body = dict(small_table(values, controls=("oracle",)).body())
    # Equal in the digits shown: both are best. Alone in its column: nothing to compare with.
    assert [body[name][0].best for name in ("a", "b", "c", "oracle")] == [False, True, True, False]
    assert not any(texts[1].best for texts in body.values())
    finer = small_table(values, controls=("oracle",), format=CellFormat(decimals=2))
    assert [texts[0].best for _, texts in finer.body()] == [False, False, True, False]


def test_missing_cells_show_a_dash() -> None:
    body = dict(small_table({("a", "x"): 0.5, ("b", "y"): 0.25}).body())
    assert [text.value for text in body["a"]] == ["50.0", "–"]
    assert [text.value for text in body["b"]] == ["–", "25.0"]


def test_unknown_names_are_refused_with_what_there_is(metrics: pd.DataFrame) -> None:
    with pytest.raises(AdvdetectError, match="'svm' here; there are: logistic_regression"):
        detection(metrics, detector="svm")
    with pytest.raises(AdvdetectError, match="metric 'auc'; use one of auroc"):
        detection(metrics, metric="auc")
