"""What a method chose for many classes is said once and kept in its file."""

import pytest
from small_store import write_manifest
from step_runs import SEED, judged, model_of, run, run_feature

from advdetect.io import read_provenance
from advdetect.many_classes import CHOSEN
from advdetect.steps.report import chosen_for_many_classes

DEEPFOOL = "advdetect.attacks.deepfool.deepfool"


@pytest.fixture
def ten_are_many(monkeypatch):
    """Let the ten classes of the chain's data be many."""
    monkeypatch.setattr("advdetect.many_classes.MANY_CLASSES", 5)


def test_an_attack_and_its_transfer_say_what_was_chosen(
    ten_are_many, attack, chain, tmp_path, capsys
):
    path = attack(DEEPFOOL, "--batch-size", "20", iterations=1)
    chosen = {"number_of_classes": 10, "candidates": 10}
    assert read_provenance(path)[CHOSEN] == chosen
    said = [line for line in capsys.readouterr().err.splitlines() if "auto" in line]
    assert said == ["attack attack: candidates auto is 10, since the model has 10 classes"]
    moved = tmp_path / "transfer.safetensors"
    run(
        *("transfer", "--spec", "{}", "--name", "deepfool@other", "--seed", SEED),
        *("--device", "cpu", "--crafted", path, *judged(chain), "--output", moved),
    )
    assert read_provenance(moved)[CHOSEN] == chosen


def test_a_feature_says_what_was_chosen(ten_are_many, chain, config, tmp_path):
    output = tmp_path / "feature.parquet"
    run_feature(chain, config / "feature/fisher_weights.yaml", "clean", output)
    assert read_provenance(output)[CHOSEN] == {"number_of_classes": 10, "approximation": "top_k"}


def test_the_report_names_all_that_chose(ten_are_many, chain, attack, config, tmp_path):
    """What a figure shows of an attack has a file without a name of its own."""
    crafted = attack(DEEPFOOL, iterations=1)
    store = tmp_path / "store"
    (store / "of an attack").mkdir(parents=True)
    feature = store / "feature.parquet"
    run_feature(chain, config / "feature/fisher_weights.yaml", "clean", feature, name="fisher")
    files = [feature]
    for step, spec, suffix in (
        ("sensitivity", '{"classes": "auto", "examples": 2}', "safetensors"),
        ("eigenvalue-path", '{"examples": 2, "points": 3, "length": 2.0}', "parquet"),
    ):
        files.append(store / "of an attack" / f"{step}.{suffix}")
        run(
            *(step, "--spec", spec, "--device", "cpu", *model_of(chain)),
            *("--test", chain / "test.safetensors", "--attack", crafted, "--output", files[-1]),
        )
    manifest = write_manifest(tmp_path, "mine", files)
    assert chosen_for_many_classes(str(manifest)) == {
        "chosen for many classes": {
            "eigenvalue-path attack": "method class_lanczos, of 10 classes",
            "feature fisher": "approximation top_k, of 10 classes",
            "sensitivity attack": "classes two, of 10 classes",
        }
    }


def test_of_few_classes_nothing_is_said(attack):
    assert CHOSEN not in read_provenance(attack(DEEPFOOL, iterations=1))
