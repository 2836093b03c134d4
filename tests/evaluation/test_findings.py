import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.findings import control_checks, findings
from advdetect.evaluation.metrics import evaluate_feature

COLUMNS = ["feature", "trained_on", "tested_on", "bits", "value", "low", "high"]


def metric_rows(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).assign(
        detector="d", positives="successful", metric="auroc", seed="mean"
    )


def said(*rows: tuple) -> list[str]:
    sentences = findings(metric_rows(*rows), detector="d", controls=("oracle",))
    return [sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in sentences]


def test_sentences_name_the_best_and_the_next() -> None:
    assert said(
        ("kd", "fgsm", "fgsm", "float32", 0.8, 0.75, 0.86),
        ("bu", "fgsm", "fgsm", "float32", 0.9, 0.85, 0.95),
        ("oracle", "fgsm", "fgsm", "float32", 1.0, 1.0, 1.0),
        ("kd", "bim", "bim", "float32", 0.7, 0.65, 0.75),
        ("bu", "bim", "bim", "float32", 0.9, 0.85, 0.95),
        ("kd", "ead", "ead", "float32", 0.6, 0.5, 0.7),
        ("bu", "ead", "ead", "float32", np.nan, np.nan, np.nan),
        ("kd", "jsma", "jsma", "float32", np.nan, np.nan, np.nan),
    ) == [
        "Best on most attacks: BU (2 of 3 attacks).",
        "FGSM: best is BU, AUROC 90.0 % [85.0, 95.0]; next is KD, 80.0 % [75.0, 86.0]. "
        "The intervals overlap.",
        "BIM: best is BU, AUROC 90.0 % [85.0, 95.0]; next is KD, 70.0 % [65.0, 75.0]. "
        "The intervals do not overlap.",
        "EAD: best is KD, AUROC 60.0 % [50.0, 70.0].",
        "JSMA: no adversarial in the test part, so there is no value.",
    ]


def test_sentences_on_rounding_and_on_other_attacks() -> None:
    sentences = said(
        ("kd", "fgsm", "fgsm", "float32", 0.8, 0.7, 0.9),
        ("kd", "bim", "bim", "float32", 0.9, 0.7, 0.9),
        ("kd", "fgsm", "bim", "float32", 0.6, 0.5, 0.7),
        ("kd", "bim", "fgsm", "float32", 0.7, 0.5, 0.7),
        ("kd", "fgsm", "fgsm", "8bit", 0.81, 0.7, 0.9),
        ("kd", "bim", "bim", "8bit", 0.87, 0.7, 0.9),
        ("kd", "bim", "fgsm", "8bit", 0.1, 0.1, 0.1),
    )
    assert sentences[-2:] == [
        "Rounding the images to 8 bits changes no AUROC by more than 3.0 points (KD on BIM: -3.0).",
        "Trained on one attack and tested on another: best on average is KD, AUROC 65.0 % "
        "(mean of 2 pairs; 85.0 % on the attack that it is trained on).",
    ]


def test_features_that_win_equally_often_are_all_named() -> None:
    first = said(
        ("kd", "fgsm", "fgsm", "float32", 0.8, 0.7, 0.9),
        ("bu", "bim", "bim", "float32", 0.9, 0.8, 0.95),
    )[0]
    assert first == "Best on most attacks: KD and BU (1 of 2 attacks each)."


def test_sound_controls_pass(metrics: pd.DataFrame) -> None:
    checks = control_checks(metrics, controls={"random_scores": 0.5, "true_labels": 1.0})
    # Two controls, two features, two attacks that succeed.
    assert len(checks) == 8
    assert all(check.passed for check in checks)
    assert {check.value for check in checks if check.control == "true_labels"} == {1.0}


@pytest.mark.parametrize(("expected", "shift"), [(0.5, 1.0), (1.0, 3.0)])
def test_a_control_that_is_off_fails(expected: float, shift: float) -> None:
    generator = np.random.default_rng(0)
    kinds = np.repeat(["clean", "adversarial"], 200)
    cell = {"trained_on": "a", "tested_on": "a", "bits": "float32", "positives": "successful"}
    scores = pd.DataFrame(
        {
            "detector": "control",
            **cell,
            "index": np.tile(np.arange(200), 2),
            "kind": kinds,
            "score": generator.normal(size=400) + shift * (kinds == "adversarial"),
        }
    )
    metrics = evaluate_feature({0: scores}, replicates=200, seed=0, primary_detector="control")
    checks = control_checks(metrics.assign(feature="kd"), controls={"control": expected})
    assert [check.passed for check in checks] == [False]
    # A feature may be the control as well.
    checks = control_checks(metrics.assign(feature="c"), controls={"c": expected})
    assert [check.passed for check in checks] == [False]
