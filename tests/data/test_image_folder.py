import shutil

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from advdetect.data import image_folder
from advdetect.data.reading import with_images
from advdetect.errors import AdvdetectError
from advdetect.requirements import data_sets
from advdetect.requirements.subsets import Images

DEFAULTS = {"channels": 3, "resize": None, "interpolation": "bicubic", "class_file": None}


def load(root, **options):
    """Load a folder and read all of its images."""
    splits = image_folder.load(root=str(root), **DEFAULTS | {"image_size": 12} | options)
    return {name: with_images(split, 2, root) for name, split in splits.items()}


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            directory = tmp_path / split / name
            directory.mkdir(parents=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(directory / f"{number}.png")
    return tmp_path


def test_images_keep_their_pixels_when_the_size_fits(folder):
    splits = load(folder)
    assert splits["train"].images.shape == (6, 3, 12, 12)
    assert splits["test"].labels.tolist() == [0, 0, 1, 1]
    assert splits["train"].class_names == ("cat", "dog")
    original = np.asarray(Image.open(folder / "test" / "dog" / "1.png"))
    np.testing.assert_array_equal(
        splits["test"].images[3].permute(1, 2, 0).numpy(), original[:, 2:14]
    )


@pytest.mark.parametrize("size", [6, 24])
def test_images_are_scaled_and_cut(folder, size):
    split = load(folder, image_size=size, channels=1)["train"]
    assert split.images.shape == (6, 1, size, size)


def test_different_classes_are_refused(folder):
    (folder / "test" / "dog").rename(folder / "test" / "fox")
    with pytest.raises(AdvdetectError, match="only one of them has dog, fox"):
        load(folder)


def test_a_missing_split_is_refused(folder):
    (folder / "test").rename(folder / "tset")
    with pytest.raises(
        AdvdetectError,
        match=r"test does not exist: a folder of images must hold train/<class>/<image>",
    ):
        load(folder)


def test_an_image_that_cannot_be_decoded_is_named(folder):
    path = folder / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AdvdetectError, match=r"cat/1\.png cannot be decoded"):
        load(folder)


def test_hidden_folders_are_no_classes_and_what_is_left_out_is_said(folder, capsys):
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "train/cat/0.png", folder / "train/.ipynb_checkpoints/0.png")
    shutil.copy(folder / "train/cat/0.png", folder / "train/cat/._0.png")
    shutil.copy(folder / "train/cat/0.png", folder / "train/stray.png")
    (folder / "train" / "dog" / "notes.txt").write_text("a dog")
    splits = load(folder)
    assert splits["train"].class_names == ("cat", "dog")
    assert splits["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    (said,) = capsys.readouterr().err.splitlines()
    assert "no images by their names: 3, such as " in said


def test_a_class_without_an_image_is_refused(folder):
    for split in ("train", "test"):
        (folder / split / "fox").mkdir()
        (folder / split / "fox" / "notes.txt").write_text("a fox")
    with pytest.raises(AdvdetectError, match=r"class folder .*train.fox holds no image"):
        load(folder)


def test_images_and_classes_come_in_the_order_of_torchvision(folder):
    (folder / "train" / "cat" / "more" / "deep").mkdir(parents=True)
    for name in ("more/b.png", "more/deep/a.png", "10.png", "A.PNG", "a.png"):
        shutil.copy(folder / "train/cat/0.png", folder / "train/cat" / name)
    for name in ("Zebra", "ant"):
        for split in ("train", "test"):
            shutil.copytree(folder / split / "dog", folder / split / name)
    for number, path in enumerate(sorted((folder / "train").rglob("*.*"))):
        Image.fromarray(np.full((12, 12, 3), number, np.uint8)).save(path)
    expected = ImageFolder(str(folder / "train"))
    split = load(folder)["train"]
    assert list(split.class_names) == expected.classes
    assert split.labels.tolist() == expected.targets
    numbers = [int(np.asarray(Image.open(path))[0, 0, 0]) for path, _ in expected.samples]
    assert split.images[:, 0, 0, 0].tolist() == numbers


def test_a_folder_of_test_images_alone_has_none_for_training(folder):
    shutil.rmtree(folder / "train")
    (folder / "test").rename(folder / "val")
    splits = load(folder)
    assert (len(splits["train"]), len(splits["test"])) == (0, 4)
    assert splits["train"].class_names == splits["test"].class_names == ("cat", "dog")


def test_a_file_of_the_classes_gives_their_numbers_and_names(folder):
    shutil.rmtree(folder / "train")
    (folder / "classes.txt").write_text("dog\thound\nfox\thound\ncat\n\n", "utf-8-sig")
    split = load(folder, class_file="classes.txt")["test"]
    assert split.class_names == ("hound (dog)", "hound (fox)", "cat")
    assert split.labels.tolist() == [0, 0, 2, 2]
    original = np.asarray(Image.open(folder / "test" / "dog" / "0.png"))
    np.testing.assert_array_equal(split.images[0].permute(1, 2, 0).numpy(), original[:, 2:14])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("dog\nfox\n", r"test.cat is none of the 2 classes: name it in the file"),
        ("dog\ncat\nfox\n", r"train has no folder fox, a class of classes\.txt"),
        ("dog\ncat\ndog\thound\n", r"classes\.txt names the class dog twice"),
        ("\n", r"classes\.txt names no class"),
    ],
)
def test_classes_that_are_not_those_of_the_folders_are_refused(folder, lines, said):
    (folder / "classes.txt").write_text(lines)
    if "train" not in said:
        shutil.rmtree(folder / "train")
    with pytest.raises(AdvdetectError, match=said):
        load(folder, class_file="classes.txt")


def test_what_is_counted_before_a_run_is_what_is_loaded(folder):
    options = DEFAULTS | {"root": str(folder), "image_size": 12}
    assert data_sets.image_folder(**options) == Images(train=6, test=4, classes=2)
    assert data_sets.image_folder(**options | {"root": "nowhere"}) == Images()
    with pytest.raises(AdvdetectError, match=r"resize=11 is below image_size=12"):
        data_sets.image_folder(**options | {"resize": 11})
