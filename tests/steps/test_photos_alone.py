"""A folder of photos without training images, of some of many classes, and a model with weights."""

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from step_runs import run

from advdetect.__main__ import main
from advdetect.data.store import read_split
from advdetect.files.texts import read_json
from advdetect.models.small_cnn import SmallCNN

MOMENTS = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory, config):
    """Twenty photos of every third of sixty classes; both splits of them, and weights."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    names = [f"class {number:02}" for number in range(60)]
    for name in names[::3]:
        (folder / "val" / name).mkdir(parents=True)
        pixels = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "val" / name / "photo.png")
    (folder / "classes.txt").write_text("\n".join(names))
    for split in ("train", "test"):
        run(
            *("prepare-data", "--spec", config / "dataset/image_folder.yaml", "--split", split),
            *("--set", f"root={folder}", "--set", "image_size=8", "--threads", "2"),
            *("--set", "class_file=classes.txt", "--set", "test_count=12"),
            *("--output", folder / f"{split}.safetensors"),
        )
    model = SmallCNN(num_classes=60, in_channels=3, dropout=0.0, **MOMENTS)
    save_file(model.state_dict(), folder / "weights.safetensors")
    return folder


def train(config, photos, *arguments, **changes):
    """Take or train the model; return the status."""
    spec = {"dropout": 0.0, "num_classes": "auto", "in_channels": "auto", **MOMENTS, **changes}
    return main(
        [
            *("train", "--spec", str(config / "model/small_cnn.yaml"), "--device", "cpu"),
            *("--set", f"arguments={json.dumps(spec)}"),
            *("--train", str(photos / "train.safetensors"), *arguments),
            *("--output", str(photos / "model.safetensors")),
            *("--history", str(photos / "history.json")),
        ]
    )


def test_a_dozen_photos_of_many_classes_are_a_test_split(photos):
    test, none = (read_split(photos / f"{name}.safetensors") for name in ("test", "train"))
    assert len(test.class_names) == len(none.class_names) == 60
    assert (test.images.shape, none.images.shape) == ((12, 3, 8, 8), (0, 3, 8, 8))
    assert set(test.labels.tolist()) <= set(range(0, 60, 3))
    assert len(test.labels.unique()) == 12
    for image, label in zip(test.images, test.labels.tolist(), strict=True):
        with Image.open(photos / "val" / f"class {label:02}" / "photo.png") as file:
            square = np.asarray(file)[:, :8]
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), square)


def test_given_weights_need_no_training_images(config, photos, tmp_path, capsys):
    assert train(config, photos, "--weights", str(photos / "weights.safetensors")) == 0
    assert "weights as they are; there are no training images" in capsys.readouterr().err
    kept, given = (load_file(photos / f"{name}.safetensors") for name in ("model", "weights"))
    assert kept.keys() == given.keys()
    history = read_json(photos / "history.json")
    assert (history["train_count"], history["train_accuracy"]) == (0, None)


@pytest.mark.parametrize(
    ("weights", "changes", "said"),
    [
        (False, {}, "no training images, and the model would be trained: give --weights"),
        (True, {"std": "auto"}, "no training images, and model.arguments.std=auto is what they"),
    ],
)
def test_what_needs_training_images_says_so(config, photos, capsys, weights, changes, said):
    given = ["--weights", str(photos / "weights.safetensors")] if weights else []
    assert train(config, photos, *given, **changes) == 1
    assert said in capsys.readouterr().err
