import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from step_runs import detect, detection_spec, figure_spec, model_of, run, run_feature, stored_model

from advdetect.__main__ import main
from advdetect.fisher.input import input_fisher_spectrum
from advdetect.io import read_table, read_tensors

COLUMN = "log10_one_minus_max_probability"
THRESHOLD = {"_target_": "advdetect.detectors.threshold.threshold", "_needs_score_": True}


@pytest.fixture(scope="module")
def sources(chain, config, tmp_path_factory):
    """The files of a feature and of its scores, with the attack."""
    folder = tmp_path_factory.mktemp("reproduce")
    for name, source in {"clean": "clean", "otcm": chain / "otcm.safetensors"}.items():
        output = folder / f"{name}.parquet"
        run_feature(chain, config / "feature/max_probability.yaml", source, output)
    score = {"column": COLUMN, "adversarial": "high"}
    spec = detection_spec([["threshold", THRESHOLD]], score=score)
    attack = chain / "otcm.safetensors"
    features = [folder / "clean.parquet", folder / "otcm.parquet"]
    detect(spec, "p", features=features, attacks=[attack], output=folder / "scores.parquet")
    return {"attack": attack, "features": features, "scores": folder / "scores.parquet"}


def test_a_table_is_compared_with_what_is_reported(sources, tmp_path):
    reported = tmp_path / "reported.csv"
    reported.write_text("dataset,method,attack,auc\ndigits,by_column,OTCM,0.5\nother,x,OTCM,1\n")
    spec = {
        "kind": "detection",
        "title": "Table 1",
        "rows": ["method"],
        "columns": "attack",
        "values": [["auc", "auroc"]],
        "methods": [
            ["by_column", {"feature": "p", "column": COLUMN, "adversarial": "high"}],
            ["by_threshold", {"feature": "p", "detector": "threshold"}],
        ],
        "readings": [
            {"name": "all", "attacks": [["OTCM", "otcm"]], "positives": "all"},
            {"name": "against clean", "attacks": [["OTCM", "otcm"]], "negatives": ["clean"]},
        ],
    }
    inputs = [sources["attack"], *sources["features"], sources["scores"]]
    run(
        *("reproduce", "--spec", json.dumps(spec), "--name", "table1", "--reported", reported),
        *("--dataset", "digits", "--inputs", *inputs, "--replicates", 100, "--output", tmp_path),
    )
    table = pd.read_csv(tmp_path / "table1.csv").set_index(["reading", "row"])
    assert table["reported"].dropna().tolist() == [50.0, 50.0]
    clean, otcm = map(read_table, sources["features"])
    attacked = otcm[otcm["kind"].isin(["noisy", "adversarial"])]
    every = pd.concat([clean, attacked])
    expected = 100 * roc_auc_score(every["kind"] == "adversarial", every[COLUMN])
    assert table.loc[("all", "by_column"), "value"] == pytest.approx(expected)
    scores = read_table(sources["scores"])
    chosen = scores.query("positives == 'successful' and bits == 'float32' and kind != 'noisy'")
    chosen = chosen[chosen["trained_on"] == "otcm"]
    expected = 100 * roc_auc_score(chosen["kind"] == "adversarial", chosen["score"])
    assert table.loc[("against clean", "by_threshold"), "value"] == pytest.approx(expected)
    page = (tmp_path / "table1.md").read_text()
    assert page.startswith("Table 1, reported and reproduced. Reading: all.")
    assert "against clean" in page
    assert "\\begin{tabular}" in (tmp_path / "table1.tex").read_text()


def test_reported_values_of_another_data_set_are_no_values(sources, tmp_path, capsys):
    reported = tmp_path / "reported.csv"
    reported.write_text("dataset,attack,l2\nmnist,OTCM,1\n")
    spec = {
        "kind": "norm_at_rate",
        "rate": 0.5,
        "title": "Figure 1",
        "rows": ["attack"],
        "values": [["l2", "norm_at_rate"]],
        "readings": [{"name": "one", "attacks": [["OTCM", "otcm"]]}],
    }
    arguments = ["reproduce", "--spec", json.dumps(spec), "--name", "t", "--dataset", "digits"]
    arguments += ["--reported", reported, "--inputs", sources["attack"], "--output", tmp_path]
    assert main(list(map(str, arguments))) == 1
    error = capsys.readouterr().err
    assert "There are no reported values for digits; there are for: mnist." in error


def test_a_path_leads_from_the_image_through_the_adversarial_one(chain, sources, config, tmp_path):
    output = tmp_path / "path.parquet"
    spec = {"examples": 3, "points": 3, "length": 2.0}
    run(
        *("eigenvalue-path", "--spec", json.dumps(spec), "--device", "cpu"),
        *(*model_of(chain), "--test", chain / "test.safetensors"),
        *("--attack", sources["attack"], "--output", output),
    )
    path = read_table(output)
    tensors, _ = read_tensors(sources["attack"])
    rows = tensors["success"].nonzero().flatten()
    rows = rows[[0, len(rows) // 3, 2 * len(rows) // 3]]  # of all classes
    assert path["index"].tolist() == tensors["index"][rows].tolist() * 3
    start, middle, _ = np.split(path["l2"].to_numpy(), 3)
    assert (start == 0).all()
    np.testing.assert_allclose(middle, tensors["l2"][rows], rtol=1e-5)
    assert path["fooled"].tolist()[:6] == [False] * 3 + [True] * 3
    model = stored_model(chain)
    spectrum = input_fisher_spectrum(model, tensors["adversarial"][rows])
    np.testing.assert_allclose(path["log10_eigenvalue"][3:6], spectrum[:, 0], rtol=1e-3)
    figure = tmp_path / "figure.svg"
    run(
        *("figure", "--spec", config / "figure/eigenvalue_path.yaml"),
        *("--inputs", output, "--output", figure),
    )
    assert figure.with_suffix(".png").is_file()


@pytest.mark.parametrize("kind", ["distribution", "column_roc"])
def test_the_figures_of_columns_are_drawn(kind, sources, config, tmp_path):
    spec = figure_spec(config, kind, feature="p", columns=[["it", COLUMN]])
    figure = tmp_path / "figure.svg"
    run(
        *("figure", "--spec", spec, "--output", figure),
        *("--inputs", sources["attack"], *sources["features"]),
    )
    assert figure.read_text().startswith("<?xml")
    assert figure.with_suffix(".png").is_file()
