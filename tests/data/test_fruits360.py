import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from advdetect.data import fruits360
from advdetect.data.reading import with_images
from advdetect.errors import AdvdetectError
from advdetect.requirements import data_sets
from advdetect.requirements.subsets import Images

OPTIONS = {"image_size": 100, "interpolation": "bilinear"}


@pytest.fixture
def fruits(tmp_path):
    """Four classes as they are published, two images each for training, one for testing."""
    for number, name in enumerate(("Apple Golden 1", "Apple Golden 2", "Pear 1", "Plum")):
        for part, count in (("Training", 2), ("Test", 1)):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for image in range(count):
                pixels = np.full((100, 100, 3), 10 * number + image, np.uint8)
                Image.fromarray(pixels).save(folder / f"{image}_100.jpg", quality=100)
    return tmp_path


def test_it_is_read_as_it_is_published(fruits):
    splits = fruits360.load(root=str(fruits), **OPTIONS)
    names = ("Apple Golden 1", "Apple Golden 2", "Pear", "Plum")
    assert splits["train"].class_names == splits["test"].class_names == names
    assert splits["train"].labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    test = with_images(splits["test"], 2, fruits)
    assert test.images.shape == (4, 3, 100, 100)
    assert test.images.float().mean((1, 2, 3)).sub(10 * test.labels).abs().max() < 2
    assert data_sets.fruits360(root=str(fruits), **OPTIONS) == Images(8, 4, 4)


def test_a_folder_that_is_another_is_refused(fruits):
    with pytest.raises(AdvdetectError, match=r"Test does not exist: a folder of images must hold"):
        fruits360.load(root=str(fruits / "Training"), **OPTIONS)


def test_real_files(fruits_archive, tmp_path):
    with tarfile.open(fruits_archive) as archive:
        members = [m for m in archive if m.isfile() and m.name.endswith(".jpg")]
        classes = sorted({m.name.split("/")[-2] for m in members})[:2]
        chosen = [m for m in members if m.name.split("/")[-2] in classes]
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in 3.11.2
        archive.extractall(tmp_path, chosen, **safely)
    root = next(tmp_path.rglob("train")).parent
    splits = fruits360.load(root=str(root), **OPTIONS)
    assert classes == ["Apple Braeburn", "Apple Golden 1"]
    assert splits["test"].class_names == ("Apple Braeburn", "Apple Golden")
    train = with_images(splits["train"].take(torch.arange(40)), 2, tmp_path)
    assert train.images.shape == (40, 3, 100, 100)
    # Of the photographs these files have the outlines only, black on white; grey is read as colour.
    assert train.images.float().mean() > 230
    assert (train.images == train.images[:, :1]).all()
