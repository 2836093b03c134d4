"""Steps that publish two runs: each part is what the step makes of that run alone."""

import json

import numpy as np
import pandas as pd
import pytest
from step_runs import figure_spec, run, write_attack

from advdetect.__main__ import main

LABELS = {"a1": "A", "b2": "B"}
N = 6


@pytest.fixture(scope="module")
def attacks(tmp_path_factory):
    """Files of an attack, two seeds of each run."""
    folder = tmp_path_factory.mktemp("attacks")
    files = {}
    for scale, run_id in enumerate(LABELS, start=1):
        for seed in (0, 1):
            path = folder / f"{run_id}_{seed}.safetensors"
            l2 = scale * (np.arange(N) + seed + 1.0)
            facts = {"step": "attack", "name": "fgm_least", "seed": seed, "run": run_id}
            write_attack(
                path,
                facts | {"spec": {"_minimal_norm_": True}, "key": f"{run_id}{seed}"},
                index=np.arange(N),
                success=np.arange(N) > scale,
                success_8bit=np.arange(N) > scale + 1,
                l2=l2,
                linf=l2 / 3,
                iterations=np.ones(N),
                forward_passes=np.full(N, 3.0),
                backward_passes=np.full(N, 1.5),
            )
            files.setdefault(run_id, []).append(path)
    return files


@pytest.fixture(scope="module")
def tables(attacks, metrics, tmp_path_factory):
    """Make the tables of some runs: a function that returns their folder."""

    def make(name, run_ids, *options):
        folder = tmp_path_factory.mktemp(name)
        frames = [
            metrics.assign(value=metrics["value"] / (1 + list(LABELS).index(run_id)))
            for run_id in run_ids
        ]
        if len(run_ids) > 1:
            frames = [frame.assign(run=LABELS[i]) for i, frame in zip(run_ids, frames, strict=True)]
        pd.concat(frames).to_csv(folder / "metrics.csv", index=False)
        files = [path for run_id in run_ids for path in attacks[run_id]]
        run(
            *("tables", "--metrics", folder / "metrics.csv", "--attacks", *files, *options),
            *("--detector", "logistic_regression", "--replicates", 20, "--output", folder),
        )
        return folder

    return make


def test_the_tables_of_two_runs_hold_those_of_each(tables):
    both = tables("both", LABELS, "--runs", json.dumps(LABELS))
    for run_id, label in LABELS.items():
        own = tables(run_id, [run_id])
        names = [path.name for path in own.glob("*.csv") if path.name != "metrics.csv"]
        assert {"detection.csv", "attacks.csv", "attack_summary.csv"} < set(names)
        assert "least_perturbation.csv" in names
        for name in names:
            table = pd.read_csv(both / name, dtype={"reason": str})
            here = table[table["run"] == label].drop(columns="run").reset_index(drop=True)
            alone = pd.read_csv(own / name, dtype={"reason": str}).drop(columns="run")
            # Six digits of 5.0 are "5": a column's type depends on what stands beside it.
            pd.testing.assert_frame_equal(here, alone, check_dtype=False)
    assert (both / "detection.md").read_text().splitlines()[2].startswith("| Run")


def test_no_table_is_written_outside_of_its_folder(tables, metrics, capsys, tmp_path):
    """Names of features come from a file, and are a part of the names of tables."""
    moved = metrics.assign(feature="../../../moved")
    with pytest.raises(AssertionError):
        tables("outside", ["a1"], "--metrics", *_written(tmp_path / "metrics.csv", moved))
    error = capsys.readouterr().err
    assert "--metrics: 'cross_attack_../../../moved' would be the name of a file" in error


def _written(path, table):
    table.to_csv(path, index=False)
    return [path]


def test_two_runs_without_labels_are_refused(tables, attacks, capsys):
    with pytest.raises(AssertionError):
        tables("mixed", LABELS)
    error = capsys.readouterr().err
    first, second = attacks["a1"][0], attacks["b2"][0]
    assert f"{first} and {second} are of the same run and seed" in error


def test_a_figure_of_two_runs_has_a_block_for_each(attacks, config, tmp_path):
    files = [path for own in attacks.values() for path in own]
    output = tmp_path / "fooling_rate.svg"
    run(
        *("figure", "--spec", figure_spec(config, "fooling_rate"), "--inputs", *files),
        *("--runs", json.dumps(LABELS), "--output", output),
    )
    assert output.read_text().count('id="fgm_least"') == 2


def test_images_are_given_for_each_run(attacks, config, tmp_path, capsys):
    arguments = [
        *("figure", "--spec", figure_spec(config, "gallery"), "--inputs"),
        *(str(path) for own in attacks.values() for path in own),
        *("--data", "1", "2", "3", "--runs", json.dumps(LABELS)),
        *("--output", str(tmp_path / "gallery.svg")),
    ]
    assert main(arguments) == 1
    assert "--data: 3 files for 2 runs" in capsys.readouterr().err
