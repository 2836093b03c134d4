from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.metrics import MEAN
from advdetect.evaluation.perturbation import AttackNorms, least_perturbations
from advdetect.protocol import UNCHANGED
from advdetect.tables.defense_table import DEFENSE_TABLES
from advdetect.tables.rendering import to_text
from advdetect.tables.standard import DETECTION_TABLES, standard_tables
from pipeline import Pipeline


def as_control(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of one attack, said to be those of the control."""
    one = metrics["trained_on"].eq("fgsm") & metrics["tested_on"].eq("fgsm")
    main = metrics["bits"].eq("float32") & metrics["positives"].eq("successful")
    return metrics[one & main].assign(trained_on=UNCHANGED, tested_on=UNCHANGED)


@pytest.fixture(scope="module")
def tables(metrics: pd.DataFrame, paired: pd.DataFrame, attack_summary: pd.DataFrame) -> dict:
    return standard_tables(
        metrics,
        attack_summary,
        detector="logistic_regression",
        controls=["random_scores"],
        unchanged=as_control(metrics),
        paired=paired,
    )


@pytest.mark.parametrize("name", DETECTION_TABLES)
def test_detection_tables_hold_the_cells_of_their_protocol(
    tables: dict, metrics: pd.DataFrame, name: str
) -> None:
    bits, positives = DETECTION_TABLES[name]
    for _, cell in tables[name].cells.iterrows():
        rows = metrics[
            (metrics["feature"] == cell["feature"])
            & (metrics["trained_on"] == cell["attack"])
            & (metrics["tested_on"] == cell["attack"])
            & (metrics["bits"] == bits)
            & (metrics["positives"] == positives)
            & (metrics["detector"] == "logistic_regression")
            & (metrics["metric"] == "auroc")
            & (metrics["seed"] == MEAN)
        ]
        np.testing.assert_equal(cell["value"], rows["value"].item())
    assert len(tables[name].cells) == 2 * 3


def expected_tables(repository: Path, **settings: object) -> set[str]:
    """Return the names of the tables that the workflow expects of the step."""
    pipeline = Pipeline(repository, settings)
    (job,) = (job for job in pipeline.published if job.rule == "tables")
    outputs = pipeline.published_outputs(job).values()
    files = [Path(file) for of in outputs for file in ([of] if isinstance(of, str) else of)]
    return {path.stem for path in files if path.suffix == ".csv"} - {"attack_summary"}


def test_the_workflow_expects_just_these_files(tables: dict, repository: Path) -> None:
    one = {"features": ["kd"], "defenses": [], "overrides": "evaluation.main_feature=kd"}
    assert "paired" not in expected_tables(repository, **one)
    features = {"features": ["bu", "fisher_input"]}
    assert expected_tables(repository, **features, defenses=[]) == set(tables)
    defended = expected_tables(
        repository, features=["bu", "fisher_input", "magnet"], defenses=["magnet"]
    )
    assert defended == {*tables, *DEFENSE_TABLES, "cross_attack_magnet"}


def test_least_perturbations_are_one_table_more(
    metrics: pd.DataFrame,
    paired: pd.DataFrame,
    attack_summary: pd.DataFrame,
    tables: dict,
    repository: Path,
) -> None:
    norms = pd.DataFrame({"index": [0, 1], "success": [True, False], "l2": [1.0, 0.0]})
    least = least_perturbations(
        [AttackNorms("fgm_least", True, True, {0: norms})], replicates=10, seed=0
    )
    with_least = standard_tables(
        metrics,
        attack_summary,
        detector="logistic_regression",
        controls=["random_scores"],
        unchanged=as_control(metrics),
        least_perturbations=least,
        paired=paired,
    )
    assert set(with_least) - set(tables) == {"least_perturbation"}
    assert "least_perturbation" in expected_tables(repository, attacks=["fgm_least"])


def test_the_table_of_the_control_has_each_feature_with_each_detector(
    tables: dict, metrics: pd.DataFrame
) -> None:
    rows = as_control(metrics).query("metric == 'auroc' and seed == 'mean'")
    cells = tables["control"].cells
    assert len(cells) == len(rows) == 2 * metrics["detector"].nunique()
    for _, cell in cells.iterrows():
        own = rows[(rows["feature"] == cell["feature"]) & (rows["detector"] == cell["detector"])]
        assert cell["value"] == own["value"].item()
        assert (cell["low"], cell["high"]) == (own["low"].item(), own["high"].item())
    text = to_text(tables["control"])
    assert "Input Fisher" in text
    assert "*" not in text  # nothing is best
