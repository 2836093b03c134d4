import pytest
import torch
from step_runs import run

from advdetect.data.store import read_split
from advdetect.io import read_provenance

LESS = ("--set", "train_count=200")


@pytest.fixture
def prepare(config, tmp_path):
    """Prepare the digits; return both splits and the provenance of the second."""

    def prepare(*arguments):
        names = ("train", "test", "unused") if LESS[1] in arguments else ("train", "test")
        files = {split: tmp_path / f"{split}.safetensors" for split in names}
        for split, file in files.items():
            run(
                *("prepare-data", "--spec", config / "dataset/digits.yaml", *arguments),
                *("--split", split, "--output", file),
            )
        train, test = (read_split(files[name]) for name in ("train", "test"))
        return train, test, read_provenance(files["test"])

    return prepare


def rows(split):
    return {tuple(image.flatten().tolist()) for image in split.images}


def test_validation_images_come_from_the_training_split_and_leave_it(prepare):
    all_train, test, facts = prepare()
    train, validation, validation_facts = prepare("--evaluate-on", "validation")
    assert (facts["evaluate_on"], validation_facts["evaluate_on"]) == ("test", "validation")
    assert len(validation) == len(all_train) // 6
    assert len(train) + len(validation) == len(all_train)
    assert rows(train) | rows(validation) == rows(all_train)
    assert not rows(validation) & (rows(train) | rows(test))


def test_counts_are_taken_of_what_is_evaluated(prepare):
    train, validation, _ = prepare(
        *("--evaluate-on", "validation", "--set", "train_count=200", "--set", "test_count=50")
    )
    assert (len(train), len(validation)) == (200, 50)
    assert torch.bincount(validation.labels).tolist() == [5] * 10


def test_a_split_is_the_same_whatever_the_number_of_images_of_the_other(config, tmp_path):
    for count in (10, 20):
        run(
            *("prepare-data", "--spec", config / "dataset/digits.yaml", "--split", "test"),
            *("--set", f"train_count={count}", "--set", "test_count=15"),
            *("--output", tmp_path / f"{count}.safetensors"),
        )
    first, second = (tmp_path / f"{count}.safetensors" for count in (10, 20))
    assert first.read_bytes() == second.read_bytes()
    assert len(read_split(first)) == 15
    assert read_provenance(first)["split"] == "test"


@pytest.mark.parametrize("evaluated", ["test", "validation"])
def test_what_the_training_split_leaves_out_is_a_split_of_its_own(prepare, evaluated, tmp_path):
    options = ("--evaluate-on", evaluated)
    (everything, test, _), (train, _, _) = prepare(*options), prepare(*options, *LESS)
    unused = read_split(tmp_path / "unused.safetensors")
    assert len(train) == 200
    assert len(unused) == len(everything) - 200
    assert rows(train) | rows(unused) == rows(everything)
    assert not rows(unused) & (rows(train) | rows(test))
    assert read_provenance(tmp_path / "unused.safetensors")["split"] == "unused"
