"""What a method chose for many classes is said once and kept in its file."""

import pytest
from step_runs import SEED, judged, run, run_feature

from advdetect.io import read_provenance
from advdetect.many_classes import CHOSEN

DEEPFOOL = "advdetect.attacks.deepfool.deepfool"


@pytest.fixture
def ten_are_many(monkeypatch):
    """Let the ten classes of the chain's data be many."""
    monkeypatch.setattr("advdetect.many_classes.MANY_CLASSES", 5)


def test_an_attack_and_its_transfer_say_what_was_chosen(
    ten_are_many, attack, chain, tmp_path, capsys
):
    path = attack(DEEPFOOL, "--batch-size", "20", iterations=1)
    chosen = {"classes": 10, "candidates": 10}
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
    assert read_provenance(output)[CHOSEN] == {"classes": 10, "approximation": "top_k"}


def test_of_few_classes_nothing_is_said(attack):
    assert CHOSEN not in read_provenance(attack(DEEPFOOL, iterations=1))
