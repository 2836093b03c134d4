from collections.abc import Iterable

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.metrics import evaluate_feature
from advdetect.report.findings import control_checks, findings

COLUMNS = ["feature", "trained_on", "tested_on", "bits", "value", "low", "high"]


def metric_rows(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS).assign(
        detector="d", positives="successful", metric="auroc", seed="mean"
    )


def paired_rows(*rows: tuple) -> pd.DataFrame:
    """Make paired tests: attack, two features and their AUROCs, limits, corrected p value."""
    names = ["attack", "feature", "other", "auroc", "auroc_other", "low", "high", "p_value_holm"]
    tests = pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[3:], float))
    return tests.assign(
        difference=tests["auroc"] - tests["auroc_other"], n_positive=10, n_negative=20
    )


def said(*rows: tuple, paired: pd.DataFrame | None = None) -> list[str]:
    tests = paired_rows() if paired is None else paired
    sentences = findings(metric_rows(*rows), tests, detector="d", controls=("oracle",))
    return [sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in sentences]


def test_sentences_say_what_is_better_and_what_is_not() -> None:
    attacks = ("fgsm", "bim", "ossa")
    values = {"kd": 0.8, "bu": 0.9, "lid": 0.89}
    tests = paired_rows(
        # Better than both; which one stands first in a pair does not matter.
        ("fgsm", "kd", "bu", 0.8, 0.9, -0.15, -0.05, 0.002),
        ("fgsm", "kd", "lid", 0.8, 0.89, -0.14, -0.04, 0.001),
        ("fgsm", "bu", "lid", 0.9, 0.89, 0.004, 0.016, 0.0004),
        # Better than one of them.
        ("bim", "kd", "bu", 0.8, 0.9, -0.15, -0.05, 0.049),
        ("bim", "kd", "lid", 0.8, 0.89, -0.14, -0.04, 0.001),
        ("bim", "bu", "lid", 0.9, 0.89, -0.01, 0.03, 0.05),
        # Better than neither.
        ("ossa", "kd", "bu", 0.8, 0.9, -0.25, 0.05, 0.2),
        ("ossa", "kd", "lid", 0.8, 0.89, -0.24, 0.06, 0.3),
        ("ossa", "bu", "lid", 0.9, 0.89, -0.01, 0.03, 1.0),
    )
    sentences = said(
        *(
            (feature, attack, attack, "float32", value, value - 0.05, value + 0.05)
            for attack in attacks
            for feature, value in {**values, "oracle": 1.0}.items()
        ),
        paired=tests,
    )
    assert sentences[:4] == [
        "Best on most attacks: BU (3 of 3 attacks).",
        "FGSM: best is BU, AUROC 90.0 % [85.0, 95.0]; significantly better than the other 2 "
        "(closest: LID, by 1.0 points [0.4, 1.6], p < 0.001).",
        "BIM: best is BU, AUROC 90.0 % [85.0, 95.0]; not distinguishable from LID "
        "(by 1.0 points [−1.0, 3.0], p = 0.05); significantly better than KD "
        "(by 10.0 points [5.0, 15.0], p = 0.049).",
        "OSSA: best is BU, AUROC 90.0 % [85.0, 95.0]; not distinguishable from the other 2 "
        "(closest: LID, by 1.0 points [−1.0, 3.0], p = 1).",
    ]


def test_the_shorter_list_is_named_and_the_longer_counted() -> None:
    names = ("kd", "bu", "lid", "mid")
    rows = [(f, "a", "a", "float32", 0.9 - i / 10, 0.5, 1.0) for i, f in enumerate(names)]
    for p_values, expected in (
        ((0.2, 0.01, 0.02), "not distinguishable from BU (by 10.0 points [5.0, 15.0], p = 0.2); "
         "significantly better than the other 2 (closest: LID, by 20.0 points [15.0, 25.0], "
         "p = 0.01)."),
        ((0.2, 0.3, 0.02), "significantly better than MID (by 30.0 points [25.0, 35.0], "
         "p = 0.02); not distinguishable from the other 2 (closest: BU, by 10.0 points "
         "[5.0, 15.0], p = 0.2)."),
    ):  # fmt: skip
        tests = paired_rows(
            *(
                ("a", "kd", other, 0.9, 0.9 - i / 10, i / 10 - 0.05, i / 10 + 0.05, p_value)
                for i, (other, p_value) in enumerate(zip(names[1:], p_values, strict=True), 1)
            )
        )
        assert said(*rows, paired=tests)[1].endswith(f"AUROC 90.0 % [50.0, 100.0]; {expected}")


def test_sentences_without_a_test_compare_nothing() -> None:
    assert said(
        ("kd", "ead", "ead", "float32", 0.6, 0.5, 0.7),
        ("bu", "ead", "ead", "float32", np.nan, np.nan, np.nan),
        ("kd", "jsma", "jsma", "float32", np.nan, np.nan, np.nan),
    ) == [
        "Best on most attacks: KD (1 of 1 attacks).",
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
    metrics = evaluate_feature({0: [scores]}, replicates=200, seed=0, primary_detector="control")
    checks = control_checks(metrics.assign(feature="kd"), controls={"control": expected})
    assert [check.passed for check in checks] == [False]
    # A feature may be the control as well.
    checks = control_checks(metrics.assign(feature="c"), controls={"c": expected})
    assert [check.passed for check in checks] == [False]


def random_controls(values: Iterable[float], adversarials: int, clean: int) -> list[bool]:
    """Return of controls whose bootstrap intervals have no width whether they pass."""
    cell = {"trained_on": "a", "tested_on": "a", "bits": "float32", "positives": "successful"}
    metrics = pd.DataFrame({"value": values, "low": values, "high": values}).assign(
        **cell, detector="c", feature="kd", metric="auroc", seed="mean",
        n_positive=adversarials, n_negative=clean,
    )  # fmt: skip
    return [check.passed for check in control_checks(metrics, controls={"c": 0.5})]


@pytest.mark.parametrize("adversarials", [1, 2, 20])
def test_random_scores_of_few_adversarials_pass(adversarials: int) -> None:
    generator = np.random.default_rng(0)
    positive, negative = generator.random((500, adversarials)), generator.random((500, 100))
    auroc = (positive[:, :, None] > negative[:, None]).mean(axis=(1, 2))
    assert np.abs(auroc - 0.5).max() > 0.15, "or the test would be of nothing"
    passed = random_controls(auroc, adversarials, 100)
    assert passed == [True] * 500


def test_scores_that_say_something_do_not_pass_as_random() -> None:
    assert random_controls([0.8], 20, 100) == [False]
    assert random_controls([0.6], 400, 400) == [False]


def unchanged_rows(*cells: tuple[str, str, float, float, float]) -> pd.DataFrame:
    """Return metrics of the control: feature, detector, value, low, high."""
    names = ["feature", "detector", "value", "low", "high"]
    control = {"trained_on": "unchanged", "tested_on": "unchanged", "bits": "float32"}
    return pd.DataFrame(cells, columns=names).assign(
        **control, positives="successful", metric="auroc", seed="mean"
    )


def test_unchanged_images_must_be_at_chance_whatever_the_feature_and_detector(metrics) -> None:
    unchanged = unchanged_rows(
        ("kd", "threshold", 0.5, 0.5, 0.5),
        ("kd", "random_forest", 0.53, 0.5, 0.56),  # by chance
        ("bu", "threshold", 0.501, 0.501, 0.501),  # not by chance: it has none
        ("bu", "random_forest", 0.995, 0.99, 0.999),
        ("bu", "random_scores", 0.9, 0.89, 0.91),  # a control of its own
    )
    checks = control_checks(metrics, controls={"random_scores": 0.5}, unchanged=unchanged)
    own = [check for check in checks if check.control == "unchanged"]
    assert [(c.feature, c.other, c.passed) for c in own] == [
        ("kd", "threshold", True),
        ("kd", "random_forest", True),
        ("bu", "threshold", False),
        ("bu", "random_forest", False),
    ]
    assert {check.expected for check in own} == {0.5}
