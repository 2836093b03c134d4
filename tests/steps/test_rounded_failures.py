"""An attack whose images fool only until they are rounded to 8 bits, to the tables."""

import json

import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from step_runs import SEED, detect, detection_spec, figure_spec, judged, run, run_feature

from advdetect.files.scores import read_cells
from advdetect.report.findings import control_checks

DETECTORS = ("random_forest", "gaussian", "random_scores", "true_labels")
CONTROLS = {"random_scores": 0.5, "true_labels": 1.0}
NAME = "boundary"
CELL = ["detector", "trained_on", "tested_on", "bits", "positives"]


@pytest.fixture(scope="module")
def made(chain, config, tmp_path_factory):
    """A folder with that attack and the features of its images and of another's."""
    folder = tmp_path_factory.mktemp("rounded")
    spec = {"_target_": "step_methods.stop_at_the_boundary", "_minimal_norm_": True}
    run(
        *("attack", "--spec", json.dumps(spec), "--name", NAME, "--seed", SEED, "--device", "cpu"),
        *(*judged(chain), "--output", folder / f"{NAME}.safetensors"),
    )
    sources = {
        "clean": "clean",
        "otcm": chain / "otcm.safetensors",
        NAME: folder / f"{NAME}.safetensors",
    }
    for name, source in sources.items():
        output = folder / f"{name}.parquet"
        run_feature(chain, config / "feature/max_probability.yaml", source, output)
    return folder


def detection(config):
    detectors = [
        (name, yaml.safe_load((config / f"detector/{name}.yaml").read_text())) for name in DETECTORS
    ]
    return detection_spec(detectors)


@pytest.fixture(scope="module")
def score(chain, config, made):
    """Score some attacks."""
    spec = detection(config)
    files = {"otcm": chain / "otcm.safetensors", NAME: made / f"{NAME}.safetensors"}

    def score(output, *attacks):
        features = [made / f"{name}.parquet" for name in ("clean", *attacks)]
        attacked = [files[name] for name in attacks]
        detect(spec, "p", features=features, attacks=attacked, output=output)

    return score


def test_its_successes_are_undone_by_rounding(made):
    attacked = load_file(made / f"{NAME}.safetensors")
    assert attacked["success"].sum() > 10
    assert not attacked["success_8bit"].any()
    assert attacked["changed_8bit"].any()


def test_only_detectors_trained_on_it_have_no_scores(score, made, capsys):
    both, alone = made / "both.parquet", made / "alone.parquet"
    score(both, "otcm", NAME)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    reason = "no successful adversarial image to fit on once rounded to 8 bits"
    assert warnings == [
        f"fit-detectors p seed {SEED}: warning: {reason} ({NAME}, 8bit, successful), so these "
        "cells have no values"
    ]
    score(alone, "otcm")
    assert "warning" not in capsys.readouterr().err
    scores = read_cells(both)
    undone = (scores["bits"] == "8bit") & (scores["positives"] == "successful")
    unfitted = undone & (scores["trained_on"] == NAME)
    assert scores["score"].isna().equals(unfitted)
    assert scores["reason"].where(~unfitted, "").eq("").all()
    assert set(scores.loc[unfitted, "reason"]) == {reason}
    # Every other cell is as it is without that attack, or as its own images make it.
    kept = scores[scores["trained_on"].isin(["otcm", "clean"]) & (scores["tested_on"] == "otcm")]
    pd.testing.assert_frame_equal(
        kept.drop(columns="reason").reset_index(drop=True),
        read_cells(alone).drop(columns="reason"),
        check_categorical=False,
    )
    others = scores[(scores["trained_on"] == "others") & (scores["tested_on"] == NAME)]
    assert set(others["kind"]) == {"clean", "noisy", "adversarial"}


def test_without_rounded_images_all_else_is_the_same(chain, config, made, tmp_path):
    features = [made / "clean.parquet"]
    for name, source in (("otcm", chain), (NAME, made)):
        features.append(tmp_path / f"{name}.parquet")
        attack = source / f"{name}.safetensors"
        spec = config / "feature/max_probability.yaml"
        run_feature(chain, spec, attack, features[-1], "--bits", '["float32"]')
        values = pd.read_parquet(made / f"{name}.parquet")
        expected = values[values["kind"].isin(["noisy", "adversarial"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(pd.read_parquet(features[-1]), expected)
    spec = {**detection(config), "bits": ["float32"]}
    attacks = [chain / "otcm.safetensors", made / f"{NAME}.safetensors"]
    detect(spec, "p", features=features, attacks=attacks, output=tmp_path / "alone.parquet")
    both = read_cells(made / "both.parquet", bits="float32")
    pd.testing.assert_frame_equal(
        read_cells(tmp_path / "alone.parquet"), both.reset_index(drop=True), check_categorical=False
    )
    metrics = tmp_path / "metrics.csv"
    scores = tmp_path / "alone.parquet"
    run("evaluate", "--name", "p", "--scores", scores, "--replicates", "50", "--output", metrics)
    arguments = ["--metrics", metrics, "--attacks", *attacks, "--replicates", "50"]
    run("tables", *arguments, "--output", tmp_path / "tables")
    written = {path.stem for path in (tmp_path / "tables").glob("detection*.md")}
    assert {"detection", "detection_all"} < written
    assert not [name for name in written if name.endswith("8bit")]


@pytest.mark.parametrize("attacks", [("otcm", NAME), (NAME,)])
def test_everything_after_it_copes(score, chain, config, made, tmp_path, attacks):
    scores, metrics = tmp_path / "scores.parquet", tmp_path / "metrics.csv"
    score(scores, *attacks)
    run("evaluate", "--name", "p", "--scores", scores, "--replicates", "50", "--output", metrics)
    table = pd.read_csv(metrics, dtype={"seed": str})
    cells = table[(table["metric"] == "auroc") & (table["seed"] == "mean")].set_index(CELL)
    forms = cells.xs(NAME, level="tested_on").xs("random_forest")["value"].loc[NAME]
    assert forms.isna().to_dict() == {
        ("float32", "successful"): False,
        ("float32", "all"): False,
        ("8bit", "successful"): True,
        ("8bit", "all"): False,
    }
    reasons = cells["reason"].fillna("")
    assert (reasons != "").equals(cells["value"].isna())
    checks = control_checks(table, controls=CONTROLS)
    assert len(checks) == len(CONTROLS) * len(attacks)
    assert all(check.passed for check in checks)

    files = {"otcm": chain / "otcm.safetensors", NAME: made / f"{NAME}.safetensors"}
    run(
        *("tables", "--metrics", metrics, "--attacks", *(files[name] for name in attacks)),
        *("--controls", *CONTROLS, "--replicates", "50", "--output", tmp_path),
        *("--titles", '{"otcm": "OTCM"}'),
    )
    page = (tmp_path / "detection_8bit.md").read_text()
    header, _, row = (line for line in page.splitlines() if line.startswith("|"))
    shown = dict(
        zip(*([c.strip() for c in line.split("|")] for line in (header, row)), strict=True)
    )
    assert shown.pop(NAME) == "–¹"
    assert page.rstrip().endswith(
        "¹ no successful adversarial image to fit on once rounded to 8 bits"
    )
    assert shown.keys() - {"", "Feature"} == ({"OTCM"} if "otcm" in attacks else set())
    assert "–" not in "".join(shown.values())
    for figure, source in {"roc": scores, "scores": scores, "cross_attack": metrics}.items():
        run(
            *("figure", "--spec", figure_spec(config, figure, detector="random_forest")),
            *("--inputs", source, "--output", tmp_path / f"{figure}.svg"),
        )
