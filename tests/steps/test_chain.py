"""Every stage by hand, from the data to the report."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from step_runs import SEED, run

DETECTORS = [
    ["threshold", {"_target_": "advdetect.detectors.threshold.threshold", "_needs_score_": True}],
    [
        "random_forest",
        {
            "_target_": "advdetect.detectors.random_forest.random_forest",
            "trees": 5,
            "max_depth": 5,
        },
    ],
    [
        "true_labels",
        {"_target_": "advdetect.detectors.controls.true_labels", "_sees_labels_": True},
    ],
]
SCORE = {"column": "log_density", "adversarial": "low"}


@pytest.fixture(scope="module")
def features(chain, config):
    """Files of KD: of the clean images and of the attack's."""
    fitted = chain / "kd.safetensors"
    common = ["--spec", config / "feature/kd.yaml", "--seed", SEED, "--device", "cpu"]
    common += ["--model", chain / "model.safetensors"]
    run("fit-feature", *common, "--data", chain / "train.safetensors", "--output", fitted)
    sources = {
        "clean": ["--data", chain / "test.safetensors"],
        "otcm": ["--attack", chain / "otcm.safetensors"],
    }
    for name, source in sources.items():
        output = chain / f"kd_{name}.parquet"
        run("feature", *common, "--name", "kd", *source, "--fitted", fitted, "--output", output)
    return [chain / f"kd_{name}.parquet" for name in sources]


@pytest.fixture(scope="module")
def scores(chain, features):
    spec = json.dumps({"detectors": DETECTORS, "score": SCORE, "train_fraction": 0.5})
    run(
        *("detect", "--spec", spec, "--name", "kd", "--seed", SEED, "--features", *features),
        *("--attacks", chain / "otcm.safetensors", "--output", chain / "scores.parquet"),
    )
    return chain / "scores.parquet"


@pytest.fixture(scope="module")
def metrics(chain, scores):
    path = chain / "metrics.csv"
    run("evaluate", "--name", "kd", "--scores", scores, "--replicates", "100", "--output", path)
    return path


def test_the_data_and_the_model(chain):
    metrics = json.loads((chain / "metrics.json").read_text())
    assert [epoch["epoch"] for epoch in metrics["history"]] == [1, 2, 3]
    assert metrics["test_count"] == 100 == len(load_file(chain / "test.safetensors")["labels"])
    assert metrics["train_count"] == 300
    assert metrics["history"][-1]["test_accuracy"] == metrics["test_accuracy"] > 0.5


def test_a_feature_has_one_row_per_image_and_kind(chain, features):
    index = load_file(chain / "otcm.safetensors")["index"].tolist()
    clean, attacked = map(pd.read_parquet, features)
    assert clean["kind"].unique().tolist() == ["clean"]
    assert clean["index"].tolist() == index
    assert attacked["kind"].unique().tolist() == [
        "noisy", "adversarial", "noisy_8bit", "adversarial_8bit",
    ]  # fmt: skip
    assert attacked["index"].tolist() == index * 4
    assert np.isfinite(attacked["log_density"]).all()


def test_a_feature_does_not_depend_on_the_batch_size(chain, config, tmp_path):
    values = []
    for size in ("7", "256"):
        output = tmp_path / f"{size}.parquet"
        run(
            *("feature", "--spec", config / "feature/bu.yaml", "--set", "passes=5"),
            *("--name", "bu", "--seed", SEED, "--device", "cpu", "--batch-size", size),
            *("--model", chain / "model.safetensors", "--attack", chain / "otcm.safetensors"),
            *("--output", output),
        )
        values.append(pd.read_parquet(output))
    pd.testing.assert_frame_equal(*values, rtol=1e-4)


def test_detectors_never_see_the_images_that_they_are_tested_on(chain, scores):
    table = pd.read_parquet(scores)
    tested = set(table["index"])
    attacked = load_file(chain / "otcm.safetensors")
    everything = set(attacked["index"].tolist())
    assert tested < everything
    assert len(tested) == pytest.approx(len(everything) / 2, abs=1)
    own = table[
        (table["detector"] == "threshold")
        & (table["bits"] == "float32")
        & (table["positives"] == "successful")
    ]
    assert set(own[own["kind"] == "clean"]["index"]) == tested
    assert set(own[own["kind"] == "noisy"]["index"]) == tested
    fooled = set(attacked["index"][attacked["success"]].tolist())
    assert set(own[own["kind"] == "adversarial"]["index"]) == tested & fooled


def test_failures_of_a_minimal_norm_attack_are_no_adversarials(chain, config, tmp_path):
    """Neither they nor their noisy twins are scored, also where failures count."""
    common = ["--seed", SEED, "--device", "cpu", "--model", chain / "model.safetensors"]
    attacked, test = tmp_path / "fgm_least.safetensors", chain / "test.safetensors"
    run(
        *("attack", "--spec", config / "attack/fgm_least.yaml", "--set", "epsilon_max=1.0"),
        *("--name", "fgm_least", *common, "--data", test, "--output", attacked),
    )
    features = []
    for source in (["--data", test], ["--attack", attacked]):
        features.append(tmp_path / f"{len(features)}.parquet")
        run(
            *("feature", "--spec", config / "feature/max_probability.yaml", "--name", "p"),
            *(*common, *source, "--output", features[-1]),
        )
    score = {"column": pd.read_parquet(features[0]).columns[-1], "adversarial": "low"}
    spec = {"detectors": DETECTORS, "score": score, "train_fraction": 0.5}
    output = tmp_path / "scores.parquet"
    run(
        *("detect", "--spec", json.dumps(spec), "--name", "p", "--seed", SEED),
        *("--features", *features, "--attacks", attacked, "--output", output),
    )
    file, scores = load_file(attacked), pd.read_parquet(output)
    tested = set(scores["index"])
    fooled = set(file["index"][file["success"]].tolist())
    assert 0 < len(tested & fooled) < len(tested)
    rows = scores[(scores["detector"] == "threshold") & (scores["bits"] == "float32")]
    for positives in ("successful", "all"):
        kinds = rows[rows["positives"] == positives].groupby("kind", observed=True)["index"]
        assert kinds.agg(set).to_dict() == {
            "clean": tested,
            "noisy": tested & fooled,
            "adversarial": tested & fooled,
        }


def test_the_threshold_scores_are_the_feature_itself(features, scores):
    table = pd.read_parquet(scores)
    own = table[(table["detector"] == "threshold") & (table["bits"] == "8bit")]
    adversarial = own[own["kind"] == "adversarial"].drop_duplicates("index").set_index("index")
    values = pd.read_parquet(features[1]).query("kind == 'adversarial_8bit'").set_index("index")
    expected = -values["log_density"].loc[adversarial.index]
    np.testing.assert_array_equal(adversarial["score"], expected)


def test_tables_figures_and_the_report(chain, metrics, scores, config, tmp_path):
    tables = tmp_path / "tables"
    attacks = ["--attacks", chain / "otcm.safetensors"]
    run("tables", "--metrics", metrics, *attacks, "--controls", "true_labels", "--output", tables)
    for name in ("detection", "detectors", "attacks", "cross_attack_kd"):
        for suffix in ("csv", "md", "tex", "txt"):
            assert (tables / f"{name}.{suffix}").stat().st_size > 0
    figures = {
        "roc": [scores],
        "gallery": [chain / "otcm.safetensors", chain / "test.safetensors"],
        "training": [chain / "metrics.json"],
    }
    for name, inputs in figures.items():
        output = tmp_path / "figures" / f"{name}.svg"
        run("figures", "--figure", name, "--inputs", *inputs, "--output", output)
        assert output.read_text().startswith("<?xml")
        assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    spec = {
        "settings": {
            "name": "by_hand",
            "title": "Every stage by hand",
            "seeds": [4],
            "evaluation": {
                "primary_detector": "random_forest",
                "replicates": 100,
                "bootstrap_seed": 0,
            },
        },
        "dataset": {"name": "digits"},
        "model": {"name": "small_cnn"},
        "attacks": [["otcm", {"epsilon": 2.5}]],
        "features": [["kd", {"bandwidth": "auto"}]],
        "detectors": [*DETECTORS[:2], ["true_labels", {"_control_": 1.0}]],
    }
    for folder in ("benchmarks", "logs"):
        (tmp_path / folder).mkdir()
    run(
        *("report", "--spec", json.dumps(spec), "--command", "by hand", "--metrics", metrics),
        *("--attack-summary", tables / "attack_summary.csv", "--models", chain / "metrics.json"),
        *(*attacks, "--figures", *(tmp_path / "figures").glob("*.svg")),
        *("--benchmarks", tmp_path / "benchmarks", "--logs", tmp_path / "logs"),
        *("--output", tmp_path / "report.html"),
    )
    page = (tmp_path / "report.html").read_text()
    assert "Every stage by hand" in page
    assert "OTCM" in page


def test_the_seconds_in_the_method_are_written(chain, config, tmp_path):
    timing = tmp_path / "log" / "timing.json"
    run(
        *("feature", "--spec", config / "feature/max_probability.yaml", "--name", "p"),
        *("--device", "cpu", "--model", chain / "model.safetensors"),
        *("--data", chain / "test.safetensors", "--output", tmp_path / "p.parquet"),
        *("--timing", timing),
    )
    assert json.loads(timing.read_text())["method_s"] >= 0
