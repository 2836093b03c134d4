import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from advdetect.data import image_folder
from advdetect.errors import AdvdetectError


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
    splits = image_folder.load(root=str(folder), image_size=12, channels=3)
    assert splits["train"].images.shape == (6, 3, 12, 12)
    assert splits["test"].labels.tolist() == [0, 0, 1, 1]
    assert splits["train"].class_names == ("cat", "dog")
    original = np.asarray(Image.open(folder / "test" / "dog" / "1.png"))
    np.testing.assert_array_equal(
        splits["test"].images[3].permute(1, 2, 0).numpy(), original[:, 2:14]
    )


@pytest.mark.parametrize("size", [6, 24])
def test_images_are_scaled_and_cut(folder, size):
    split = image_folder.load(root=str(folder), image_size=size, channels=1)["train"]
    assert split.images.shape == (6, 1, size, size)


def test_different_classes_are_refused(folder):
    (folder / "test" / "dog").rename(folder / "test" / "fox")
    with pytest.raises(AdvdetectError, match="only one of them has dog, fox"):
        image_folder.load(root=str(folder), image_size=12, channels=3)


def test_a_missing_split_is_refused(folder):
    (folder / "test").rename(folder / "tset")
    with pytest.raises(
        AdvdetectError,
        match=r"test does not exist: a folder of images must hold train/<class>/<image>",
    ):
        image_folder.load(root=str(folder), image_size=12, channels=3)


def test_an_image_that_cannot_be_decoded_is_named(folder):
    path = folder / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AdvdetectError, match=r"cat/1\.png cannot be decoded"):
        image_folder.load(root=str(folder), image_size=12, channels=3)


def test_hidden_folders_are_no_classes_and_what_is_left_out_is_said(folder, capsys):
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "train/cat/0.png", folder / "train/.ipynb_checkpoints/0.png")
    shutil.copy(folder / "train/cat/0.png", folder / "train/cat/._0.png")
    shutil.copy(folder / "train/cat/0.png", folder / "train/stray.png")
    (folder / "train" / "dog" / "notes.txt").write_text("a dog")
    splits = image_folder.load(root=str(folder), image_size=12, channels=3)
    assert splits["train"].class_names == ("cat", "dog")
    assert splits["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    (said,) = capsys.readouterr().err.splitlines()
    assert "no images by their names: 3, such as " in said


def test_a_class_without_an_image_is_refused(folder):
    (folder / "train" / "fox").mkdir()
    (folder / "train" / "fox" / "notes.txt").write_text("a fox")
    with pytest.raises(AdvdetectError, match=r"class folder .*fox holds no image"):
        image_folder.load(root=str(folder), image_size=12, channels=3)


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
    split = image_folder.load(root=str(folder), image_size=12, channels=3)["train"]
    assert list(split.class_names) == expected.classes
    assert split.labels.tolist() == expected.targets
    numbers = [int(np.asarray(Image.open(path))[0, 0, 0]) for path, _ in expected.samples]
    assert split.images[:, 0, 0, 0].tolist() == numbers


def test_real_photographs(fruits_archive, tmp_path):
    with tarfile.open(fruits_archive) as archive:
        members = [m for m in archive if m.isfile() and m.name.endswith(".jpg")]
        classes = sorted({m.name.split("/")[-2] for m in members})[:2]
        chosen = [m for m in members if m.name.split("/")[-2] in classes]
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in 3.11.2
        archive.extractall(tmp_path, chosen, **safely)
    root = next(tmp_path.rglob("train")).parent
    splits = image_folder.load(root=str(root), image_size=32, channels=3)
    assert splits["train"].images.shape[1:] == (3, 32, 32)
    assert list(splits["test"].class_names) == classes
    assert splits["train"].images.float().mean() > 100  # fruits on white
