import pytest
import torch
from step_runs import run

from advdetect.data.store import read_split
from advdetect.io import read_provenance


@pytest.fixture
def prepare(config, tmp_path):
    """Prepare the digits; return both splits and the provenance of the second."""

    def prepare(*arguments):
        train, test = tmp_path / "train.safetensors", tmp_path / "test.safetensors"
        run(
            *("prepare-data", "--spec", config / "dataset/digits.yaml", *arguments),
            *("--train", train, "--test", test),
        )
        return read_split(train), read_split(test), read_provenance(test)

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
