"""Every stage by hand, from the data to the report."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from step_runs import (
    SEED,
    detect,
    detection_spec,
    figure_spec,
    judged,
    model_of,
    run,
    run_feature,
    stored_model,
)

from advdetect.files.scores import read_cells
from advdetect.files.texts import read_json, write_json
from advdetect.io import read_provenance, write_table
from advdetect.usage import Usage, read_usage

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
    [
        "gaussian",
        {
            "_target_": "advdetect.detectors.gaussian.gaussian",
            "_unsupervised_": True,
            "regularization": 1e-6,
        },
    ],
]
SCORE = {"column": "log_density", "adversarial": "low"}


@pytest.fixture(scope="module")
def features(chain, config):
    """Files of KD: of the clean images and of the attack's."""
    fitted, spec = chain / "kd.safetensors", config / "feature/kd.yaml"
    run(
        *("fit-feature", "--spec", spec, "--seed", SEED, "--device", "cpu"),
        *("--train", chain / "train.safetensors"),
        *(*model_of(chain), "--output", fitted),
    )
    sources = {"clean": "clean", "otcm": chain / "otcm.safetensors"}
    for name, source in sources.items():
        output = chain / f"kd_{name}.parquet"
        run_feature(chain, spec, source, output, "--fitted", fitted, name="kd")
    return [chain / f"kd_{name}.parquet" for name in sources]


@pytest.fixture(scope="module")
def scores(chain, features):
    spec = detection_spec(DETECTORS, score=SCORE)
    output = chain / "scores.parquet"
    detect(spec, "kd", features=features, attacks=[chain / "otcm.safetensors"], output=output)
    return output


@pytest.fixture(scope="module")
def metrics(chain, scores):
    path = chain / "metrics.csv"
    run("evaluate", "--name", "kd", "--scores", scores, "--replicates", "100", "--output", path)
    return path


def test_the_data_and_the_model(chain):
    made, clean = read_json(chain / "history.json"), read_provenance(chain / "clean.safetensors")
    assert [epoch["epoch"] for epoch in made["history"]] == [1, 2, 3]
    assert made["train_count"] == 300 == len(load_file(chain / "train.safetensors")["labels"])
    train = load_file(chain / "train.safetensors")
    model = stored_model(chain)
    right = model(train["images"] / 255).argmax(1) == train["labels"]
    assert made["train_accuracy"] == pytest.approx(right.double().mean().item())
    assert made["train_accuracy"] > 0.5
    assert clean["count"] == 100 == len(load_file(chain / "test.safetensors")["labels"])
    right = len(load_file(chain / "clean.safetensors")["index"])
    assert clean["accuracy"] == right / 100 > 0.5


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
            *(*judged(chain), "--attack", chain / "otcm.safetensors", "--output", output),
        )
        values.append(pd.read_parquet(output))
    pd.testing.assert_frame_equal(*values, rtol=1e-4)


def test_a_model_fitted_on_images_goes_to_the_features_that_use_it(chain, tmp_path):
    """To the feature that it was fitted for and to one that borrows it."""
    fitted = tmp_path / "fitted.safetensors"
    own = {"_target_": "step_methods.distance", "_fit_": "step_methods.fit_mean"}
    borrowing = {"_target_": "step_methods.distance", "_fitted_by_": "own"}
    common = ["--seed", SEED, "--device", "cpu"]
    run(
        *("fit-feature", "--spec", json.dumps(own), *common),
        *model_of(chain),
        *("--train", chain / "train.safetensors", "--output", fitted),
    )
    train, attacked = load_file(chain / "train.safetensors"), load_file(chain / "otcm.safetensors")
    mean = (train["images"] / 255).double().mean(0)
    expected = (attacked["adversarial"] - mean).flatten(1).norm(dim=1)
    for name, spec in {"own": own, "borrowing": borrowing}.items():
        output = tmp_path / f"{name}.parquet"
        run(
            *("feature", "--spec", json.dumps(spec), "--name", name, *common),
            *(*judged(chain), "--attack", chain / "otcm.safetensors"),
            *("--fitted", fitted, "--output", output),
        )
        values = pd.read_parquet(output).query("kind == 'adversarial'")["distance"]
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_detectors_say_what_they_were_trained_on(scores):
    """With one attack there are no others to be trained on."""
    table = read_cells(scores)
    trained_on = table.groupby("detector", observed=True)["trained_on"].agg(set).to_dict()
    assert trained_on == {
        "threshold": {"otcm"},
        "random_forest": {"otcm"},
        "true_labels": {"otcm"},
        "gaussian": {"clean"},
    }


def test_detectors_never_see_the_images_that_they_are_tested_on(chain, scores):
    table = read_cells(scores)
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
    attacked = tmp_path / "fgm_least.safetensors"
    run(
        *("attack", "--spec", config / "attack/fgm_least.yaml", "--set", "epsilon_max=1.0"),
        *("--name", "fgm_least", "--seed", SEED, "--device", "cpu", *judged(chain)),
        *("--output", attacked),
    )
    features = []
    for source in ("clean", attacked):
        features.append(tmp_path / f"{len(features)}.parquet")
        run_feature(chain, config / "feature/max_probability.yaml", source, features[-1])
    score = {"column": pd.read_parquet(features[0]).columns[-1], "adversarial": "low"}
    spec = detection_spec(DETECTORS, score=score)
    output = tmp_path / "scores.parquet"
    detect(spec, "p", features=features, attacks=[attacked], output=output)
    file, scores = load_file(attacked), read_cells(output)
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
    own = read_cells(scores, detector="threshold", bits="8bit")
    adversarial = own[own["kind"] == "adversarial"].drop_duplicates("index").set_index("index")
    values = pd.read_parquet(features[1]).query("kind == 'adversarial_8bit'").set_index("index")
    expected = -values["log_density"].loc[adversarial.index]
    np.testing.assert_array_equal(adversarial["score"], expected.astype(np.float32))


def test_tables_figures_and_the_report(chain, metrics, scores, config, tmp_path, capsys):
    tables = tmp_path / "tables"
    attacks = ["--attacks", chain / "otcm.safetensors"]
    paired = ["--paired", tmp_path / "paired.csv"]
    another = tmp_path / "another.parquet"
    facts = read_provenance(scores) | {"name": "another"}
    write_table(another, read_cells(scores), facts)
    run("paired", "--scores", scores, another, "--replicates", 100, "--output", paired[1])
    run(
        *("tables", "--metrics", metrics, *paired, *attacks, "--controls", "true_labels"),
        *("--output", tables),
    )
    for name in ("detection", "detectors", "attacks", "cross_attack_kd", "paired"):
        for suffix in ("csv", "md", "tex", "txt"):
            assert (tables / f"{name}.{suffix}").stat().st_size > 0
    figures = {
        "roc": [scores],
        "gallery": [chain / "otcm.safetensors", "--data", chain / "test.safetensors"],
        "training": [chain / "history.json"],
    }
    for name, inputs in figures.items():
        output = tmp_path / "figures" / f"{name}.svg"
        spec = figure_spec(config, name, detector="random_forest")
        run("figure", "--spec", spec, "--inputs", *inputs, "--output", output)
        assert output.read_text().startswith("<?xml")
        assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    spec = {
        "settings": {
            "name": "by_hand",
            "title": "Every stage by hand",
            "seeds": [4],
            "evaluate_on": "validation",
            "activations": {"layers": None, "max_width": 256},
            "sensitivity": {"classes": "all", "examples": 2},
            "evaluation": {
                "primary_detector": "random_forest",
                "replicates": 100,
                "bootstrap_seed": 0,
            },
        },
        "runs": [
            {
                "name": "digits/small_cnn",
                "dataset": {"name": "digits"},
                "model": {"name": "small_cnn"},
                "attacks": [["otcm", {"epsilon": 2.5}]],
                "features": [["kd", {"bandwidth": "auto"}]],
                "detectors": [*DETECTORS[:2], DETECTORS[3], ["true_labels", {"_control_": 1.0}]],
                "defenses": [],
            }
        ],
        "left_out": ["fgsm: it is not for this data set"],
        "reproductions": {},
        "figures": {name: {"section": "detection", "caption": name} for name in figures},
    }
    manifest = tmp_path / "small" / "manifest.json"
    write_json(manifest, {"cells": [], "files": {"otcm.safetensors": {}}})
    took = asdict(Usage("attack", 1.0, 2.0, 3.0, 4321.0, True))
    write_json(tmp_path / "logs" / "otcm.json", took)
    defense_table = tables / "defense_accuracy_8bit.csv"
    defense_table.write_text(
        "attack,defense,value,standard_deviation,low,high,interval,n_positive,n_negative\n"
        "clean,magnet,0.95,,0.9,0.97,95 % bootstrap,95,5\n"
    )
    control = pd.read_csv(metrics).query(
        "trained_on == tested_on and bits == 'float32' and positives == 'successful'"
    )
    control = control.assign(trained_on="unchanged", tested_on="unchanged", value=0.9)
    control.to_csv(tmp_path / "control.csv", index=False)
    run(
        *("report", "--spec", json.dumps(spec), "--command", "by hand", "--metrics", metrics),
        *("--control", tmp_path / "control.csv"),
        *(*paired, "--defense-tables", defense_table),
        *("--attack-summary", tables / "attack_summary.csv"),
        *("--histories", chain / "history.json", "--clean", chain / "clean.safetensors"),
        *(*attacks, "--figures", *(tmp_path / "figures").glob("*.svg")),
        *("--manifest", manifest, "--titles", '{"otcm": "OTCM"}'),
        *("--output", tmp_path / "report.html"),
    )
    page = (tmp_path / "report.html").read_text()
    assert "Every stage by hand" in page
    assert "not distinguishable from another" in page
    assert "Defence accuracy" in page
    assert "OTCM" in page
    assert "validation images" in page
    assert "it is not for this data set" in page
    assert "4321" in page  # what a job took, by way of the manifest
    assert "FAIL: threshold with kd; random_forest with kd<" in page
    failure = "report: warning: Control: unchanged images has AUROC 0.900 where it must have 0.5"
    assert f"{failure} (kd, random_forest)" in capsys.readouterr().err


def test_what_a_job_took_is_written(chain, config, tmp_path):
    timing = tmp_path / "log" / "timing.json"
    spec, output = config / "feature/max_probability.yaml", tmp_path / "p.parquet"
    run_feature(chain, spec, "clean", output, "--timing", timing)
    usage = read_usage(timing)
    assert usage.succeeded
    assert 0 < usage.method_s < usage.wall_s
