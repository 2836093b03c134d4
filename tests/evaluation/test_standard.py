from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.defenses import DEFENSE_TABLES
from advdetect.evaluation.metrics import MEAN
from advdetect.evaluation.perturbation import AttackNorms, least_perturbations
from advdetect.evaluation.standard import DETECTION_TABLES, standard_tables
from pipeline import Pipeline


@pytest.fixture(scope="module")
def tables(metrics: pd.DataFrame, paired: pd.DataFrame, attack_summary: pd.DataFrame) -> dict:
    return standard_tables(
        metrics,
        attack_summary,
        detector="logistic_regression",
        controls=["random_scores"],
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


def test_the_workflow_expects_just_these_files(
    tables: dict, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = {"features": ["kd"], "defenses": [], "overrides": "evaluation.main_feature=kd"}
    assert "paired" not in Pipeline(repository, one).tables
    monkeypatch.setattr(Pipeline, "features", ["bu", "fisher_input"])
    assert sorted(Pipeline(repository, {"defenses": []}).tables) == sorted(tables)
    defended = Pipeline(repository, {"defenses": ["magnet"]})
    assert sorted(defended.tables) == sorted([*tables, *DEFENSE_TABLES])


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
        least_perturbations=least,
        paired=paired,
    )
    assert set(with_least) - set(tables) == {"least_perturbation"}
    assert "least_perturbation" in Pipeline(repository, {"attacks": ["fgm_least"]}).tables
