"""Comparing the tables of two results folders."""

import shutil

import pandas as pd
import pytest
from step_runs import SEED, judged, run, run_feature

from advdetect.__main__ import main
from advdetect.files.texts import write_json
from advdetect.io import read_provenance, write_tensors
from advdetect.tables.rendering import to_csv
from advdetect.tables.table import Table

KEYS = ("feature", "attack")


def write_cells(folder, name, values, interval="95 % bootstrap", half=0.01, keys=KEYS):
    """Write a table as the step `tables` does, every interval of the same half width."""
    cells = pd.DataFrame([(*cell, value) for cell, value in values.items()])
    cells = cells.set_axis([*keys, "value"], axis=1).assign(
        standard_deviation=float("nan"),
        low=lambda table: table["value"] - half,
        high=lambda table: table["value"] + half,
        interval=interval,
        n_positive=10,
        n_negative=20,
    )
    path = folder / "tables" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_csv(Table(name, "", *keys, cells)))


@pytest.fixture
def folders(tmp_path):
    """Two results folders: one cell changed beyond its interval, one within, one equal."""
    a, b = tmp_path / "a", tmp_path / "b"
    write_cells(a, "detection", {("kd", "fgsm"): 0.5, ("kd", "otcm"): 0.6, ("bu", "fgsm"): 0.7})
    write_cells(b, "detection", {("bu", "fgsm"): 0.705, ("kd", "otcm"): 0.6, ("kd", "fgsm"): 0.9})
    for folder in (a, b):
        write_cells(folder, "detectors", {("kd", "gaussian"): 0.5}, interval="range over attacks")
    return a, b


def rest_on(folder, *files):
    """Write a manifest that says which files of the store stand behind a folder."""
    write_json(folder / "manifest.json", {"cells": [], "files": dict.fromkeys(files)})


def compare(capsys, *arguments):
    """Return exit status, printed text and error."""
    capsys.readouterr()
    status = main(["compare", *map(str, arguments)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_what_attacks_took_is_a_measurement_and_no_result(folders, capsys):
    for folder, passes in zip(folders, (80.0, 81.0), strict=True):
        values = {("fgsm", "mean_l2"): 1.5, ("fgsm", "mean_backward_passes"): passes}
        values["fgsm", "mean_forward_passes"] = 2 * passes
        write_cells(folder, "attacks", values, interval="none", keys=("attack", "quantity"))
    options = ("--tables", "attacks", "--fail-on-change")
    status, text, error = compare(capsys, *folders, *options)
    assert (status, error) == (0, "")
    assert "passes" not in text


def test_counts_and_changed_cells_are_printed(folders, capsys):
    status, text, error = compare(capsys, *folders)
    assert (status, error) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["table"] == [
        "equal",
        *("within", "beyond", "no_interval", "only_first"),
        "only_second",
    ]
    assert rows["detection"] == ["1", "1", "1", "0", "0", "0"]
    assert rows["detectors"] == ["1", "0", "0", "0", "0", "0"]
    assert "detection, changed beyond the intervals:" in text
    (line,) = [line for line in text.splitlines() if "0.5 [0.49, 0.51]" in line]
    assert line.split()[:2] == ["kd", "fgsm"]
    assert "0.9 [0.89, 0.91]" in line
    assert "0.4 [0.3859, 0.4141]" in line  # √2 · 0.01 on each side
    assert "changed, without intervals" not in text
    assert f"{folders[0]} holds no files with provenance" in text


def test_everything_is_written(folders, capsys, tmp_path):
    path = tmp_path / "new" / "cells.csv"
    compare(capsys, *folders, "--csv", path)
    cells = pd.read_csv(path)
    assert cells.groupby("table")["outcome"].apply(sorted).to_dict() == {
        "detection": ["beyond", "equal", "within"],
        "detectors": ["equal"],
    }
    changed = cells.query("outcome == 'beyond'").iloc[0]
    assert (changed["row"], changed["column"]) == ("kd", "fgsm")
    assert changed["difference"] == pytest.approx(0.4)


def test_a_change_gives_the_exit_status_that_is_asked_for(folders, capsys):
    status, _, error = compare(capsys, *folders, "--fail-on-change")
    assert status == 1
    assert error == (
        "advdetect compare: error: 1 of 4 cells changed beyond their intervals or without any "
        "(--fail-on-change).\n"
    )
    assert compare(capsys, *folders, "--fail-on-change", "--tables", "detectors")[0] == 0
    write_cells(folders[1], "detectors", {("kd", "gaussian"): 0.51}, interval="range over attacks")
    status, text, _ = compare(capsys, *folders, "--fail-on-change", "--tables", "detectors")
    assert status == 1
    assert "detectors, changed, without intervals to judge it by:" in text


def test_a_table_of_one_folder_is_counted_and_changes_no_status(folders, capsys):
    write_cells(folders[1], "cross_attack_kd", {("fgsm", "otcm"): 0.5})
    arguments = (*folders, "--tables", "cross_attack_kd", "--fail-on-change")
    status, text, _ = compare(capsys, *arguments)
    assert status == 0
    assert text.splitlines()[5].split() == ["cross_attack_kd", *"000001"]


def test_what_cannot_be_compared_is_named(folders, capsys, tmp_path):
    a, b = folders
    _, text, error = compare(capsys, a, tmp_path / "none")
    assert text == ""
    assert error == (
        f"advdetect compare: error: The folder {tmp_path / 'none'} does not exist: name a results "
        "folder.\n"
    )
    _, _, error = compare(capsys, tmp_path, b)
    assert "holds no tables (*.csv)" in error
    _, _, error = compare(capsys, a, b, "--tables", "detection", "speed")
    assert error.endswith("speed is in neither folder; there are: detection, detectors.\n")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: text.rindex(",")],  # cut off before the last count
        lambda text: text[: text.rindex("bootstrap")],
        lambda text: text.replace("0.9,", "high,"),
        lambda text: "feature,attack\nkd,fgsm\n",
        lambda text: "\0\1" * 100,
    ],
)
def test_a_damaged_table_is_named(folders, capsys, damage):
    path = folders[1] / "tables" / "detection.csv"
    path.write_text(damage(path.read_text()))
    status, text, error = compare(capsys, *folders)
    assert (status, text) == (1, "")
    assert error.count("\n") == 1
    assert str(path) in error
    assert "damaged or of another kind" in error


def test_the_settings_that_differ_are_named(folders, chain, config, capsys):
    """Of files that the steps have written: an attack with another budget, and one more feature."""
    a, b = folders
    store = a.parent / "store"
    for name in ("otcm", "clean"):
        store.mkdir(exist_ok=True)
        shutil.copy(chain / f"{name}.safetensors", store)
    for folder in folders:
        rest_on(folder, "otcm.safetensors", "clean.safetensors")
    same = "Settings, code and versions are the same."
    assert compare(capsys, a, b)[1].endswith(f"\n{same}\n")
    run(
        *("attack", "--spec", config / "attack/otcm.yaml", "--set", "epsilon=0.5"),
        *("--name", "otcm", "--seed", SEED, "--device", "cpu", "--code", "0ther"),
        *(*judged(chain), "--output", store / "other.safetensors"),
    )
    energy = config / "feature/energy.yaml"
    for folder, width in {a: 32, b: 64}.items():
        settings = ["--activations", f'{{"max_width": {width}}}']
        output = store / f"energy_{folder.name}.parquet"
        run_feature(chain, energy, "clean", output, *settings, name="energy")
    run_feature(chain, config / "feature/max_probability.yaml", "clean", store / "p.parquet")
    # What has no name of its own is called by that of its file, which differs in its key.
    key = read_provenance(chain / "clean.safetensors")["key"]
    shutil.copy(chain / "clean.safetensors", store / f"clean.{key}.safetensors")
    rest_on(a, "otcm.safetensors", "clean.safetensors", "energy_a.parquet")
    rest_on(b, "other.safetensors", f"clean.{key}.safetensors", "energy_b.parquet", "p.parquet")
    lines = compare(capsys, a, b)[1].splitlines()
    assert lines[lines.index("Settings that differ (first → second):") + 1 :] == [
        "  only in the second: feature p",
        "  activations.max_width: 32 → 64 (feature energy)",
        "  code fingerprint differs (attack otcm)",
        "  epsilon: 2.5 → 0.5 (attack otcm)",
    ]


def test_settings_of_several_files_share_a_line(folders, capsys):
    for folder, version, epsilon in zip(folders, ("1.0", "2.0"), (1, {"low": 1}), strict=True):
        for name in ("fgsm", "fgm"):
            facts = {"step": "attack", "name": name, "spec": {"epsilon": epsilon}, "code": "c"}
            facts["packages"] = {"torch": version}
            file = f"{name}_{folder.name}.safetensors"
            write_tensors(folder.parent / "store" / file, {}, facts)
        rest_on(folder, *(f"{name}_{folder.name}.safetensors" for name in ("fgsm", "fgm")))
    lines = compare(capsys, *folders)[1].splitlines()
    assert lines[-3:] == [
        "  epsilon.low: not there → 1 (attack fgm, attack fgsm)",
        "  epsilon: 1 → not there (attack fgm, attack fgsm)",
        "  packages.torch: 1.0 → 2.0 (the run)",
    ]
