import numpy as np
import pandas as pd
import pytest
from step_runs import run

from advdetect.__main__ import main
from advdetect.io import write_table


@pytest.fixture
def write(tmp_path):
    """Write scores; return the file."""

    def write(stem, shift, attacks=("a",), **facts):
        generator = np.random.default_rng(0)
        kinds = np.repeat(["clean", "noisy", "adversarial"], 30)
        score = generator.normal(size=90) + shift * (kinds == "adversarial")
        table = pd.DataFrame({"index": np.tile(range(30), 3), "kind": kinds, "score": score})
        cell = {"detector": "d", "trained_on": "a", "tested_on": "a", "bits": "float32"}
        path = tmp_path / f"{stem}.parquet"
        facts = {"step": "score", "name": "kd", "seed": 0, "attacks": list(attacks), **facts}
        write_table(path, table.assign(positives="successful", reason="", **cell), facts)
        return path

    return write


def evaluate(tmp_path, *arguments):
    output = tmp_path / "metrics.csv"
    run("evaluate", "--name", "kd", "--replicates", 50, "--output", output, *arguments)
    return pd.read_csv(output, dtype={"seed": str}, keep_default_na=False)


def test_runs_are_evaluated_apart_whatever_their_order(write, tmp_path):
    files = [write("weak", 0.2, run="1f"), write("strong", 3.0, run="2e")]
    runs = ["--runs", '{"1f": "MNIST", "2e": "digits"}']
    tables = [evaluate(tmp_path, "--scores", *scores, *runs) for scores in (files, files[::-1])]
    pd.testing.assert_frame_equal(*tables)
    assert tables[0].columns[0] == "run"
    assert set(tables[0]["run"]) == {"MNIST", "digits"}
    for label, file in {"MNIST": files[0], "digits": files[1]}.items():
        alone = evaluate(tmp_path, "--scores", file)
        here = tables[0][tables[0]["run"] == label].reset_index(drop=True)
        pd.testing.assert_frame_equal(here.drop(columns="run"), alone.drop(columns="run"))
        area = alone[(alone["metric"] == "auroc") & (alone["seed"] == "mean")]["value"].iloc[0]
        assert (float(area) < 0.7) if label == "MNIST" else (float(area) > 0.9)


def test_two_runs_are_not_mixed_in_the_tables_of_a_chain(write, tmp_path):
    """Scores of two features of two runs, by way of evaluate and paired."""
    runs = ["--runs", '{"1f": "MNIST", "2e": "digits"}', "--primary-detector", "d"]
    scores = [
        write(f"{name}_{of}", shift, name=name, run=of)
        for of, shifts in {"1f": (0.2, 0.3), "2e": (0.5, 4.0)}.items()
        for name, shift in zip(("kd", "bu"), shifts, strict=True)
    ]
    output = tmp_path / "paired.csv"
    run("paired", "--scores", *scores, "--replicates", 200, *runs, "--output", output)
    both = pd.read_csv(output)
    assert both["run"].unique().tolist() == ["MNIST", "digits"]
    for label, own in {"MNIST": scores[:2], "digits": scores[2:]}.items():
        run(
            *("paired", "--scores", *own, "--replicates", 200, "--primary-detector", "d"),
            *("--output", tmp_path / "alone.csv"),
        )
        alone = pd.read_csv(tmp_path / "alone.csv").drop(columns="run")
        here = both[both["run"] == label].drop(columns="run").reset_index(drop=True)
        pd.testing.assert_frame_equal(here, alone)
    run("paired", "--scores", *scores[::-1], "--replicates", 200, *runs, "--output", output)
    assert set(pd.read_csv(output)["run"]) == {"MNIST", "digits"}


def test_a_single_run_needs_no_name(write, tmp_path):
    scores = [write("first", 1.0), write("second", 1.0, seed=1)]
    table = evaluate(tmp_path, "--scores", *scores)
    assert set(table["run"]) == {""}
    assert set(table["seed"]) == {"0", "1", "mean"}
    assert set(table["reason"]) == {""}


@pytest.mark.parametrize("stage", ["evaluate", "paired"])
@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "are of the same run and seed"),
        ({"seed": 1, "attacks": ("a", "b")}, "but not of the same attacks"),
        ({"run": "x"}, "is of the run x, which --runs does not name: 1f."),
    ],
)
def test_files_that_do_not_go_together_are_named(write, tmp_path, capsys, stage, facts, message):
    of = {"run": "1f"} if "run" in facts else {}
    first, second = write("first", 0.0, **of), write("second", 1.0, **facts)
    name = ["--name", "kd"] if stage == "evaluate" else []
    runs = ["--runs", '{"1f": "one"}'] if of else []
    output = str(tmp_path / "out.csv")
    scores = ["--scores", str(first), str(second)]
    assert main([stage, *name, *scores, *runs, "--output", output]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert str(second) in line
