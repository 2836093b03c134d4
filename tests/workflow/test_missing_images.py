"""What a folder of test images alone is not enough for is refused before any job."""

import pytest

from experiment import ConfigurationError

PHOTOS = {"dataset": "image_folder", "attacks": ["fgm"], "features": ["max_probability"]}
STD = "model.weights=mine.safetensors model.arguments.std=[1,1,1]"
GIVEN = f"{STD} model.arguments.mean=[0,0,0]"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two images, by their names, of each of two classes."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("cat", "dog"):
        (root / "val" / name).mkdir(parents=True)
        for number in (0, 1):
            (root / "val" / name / f"{number}.png").write_bytes(b"1")
    return root


@pytest.mark.parametrize(
    ("overrides", "choice", "said"),
    [
        (
            "",
            {},
            "^model: The data set has no training images, and small_cnn would be trained: set "
            "model.weights, a file.$",
        ),
        (STD, {}, "^model.arguments.mean: The data set has no training images, and auto is what"),
        (
            GIVEN,
            {"features": ["max_probability", "kd"]},
            "^feature.kd: The data set has no training images, and it is fitted on some: leave kd",
        ),
        (
            GIVEN,
            {"evaluate_on": "validation"},
            "^evaluate_on=validation holds out a sixth of the training images, here 0 of 0",
        ),
        (f"{GIVEN} dataset.train_count=5", {}, "^dataset.train_count=5, but the train split has"),
        (f"{GIVEN} dataset.test_count=5", {}, "^dataset.test_count=5, but the test split has only"),
        (f"{GIVEN} dataset.resize=16", {}, "^dataset: resize=16 is below image_size=32"),
        (f"{GIVEN} dataset.class_file=a.txt", {}, "^dataset: The file .*a.txt does not exist"),
        (
            f"{GIVEN} dataset.image_size=small",
            {"dataset": "imagenet"},
            "^dataset.image_size: 'small' is not of type 'integer'",
        ),
    ],
)
def test_what_photos_alone_are_not_enough_for_is_refused(composed, root, overrides, choice, said):
    with pytest.raises(ConfigurationError, match=said):
        composed(**PHOTOS | choice, overrides=f"dataset.root={root} {overrides}")


def test_they_are_counted_in_either_layout(composed, root):
    for dataset in ("image_folder", "imagenet"):
        choice = PHOTOS | {"dataset": dataset}
        (run,) = composed(**choice, overrides=f"dataset.root={root} {GIVEN}").runs
        assert (run.images.train, run.images.test, run.images.classes) == (0, 4, 2)
