"""ImageNet's validation images in the layouts that people have, and real ones."""

import shutil
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision.transforms import v2

from advdetect.data import imagenet
from advdetect.data.reading import with_images
from advdetect.errors import AdvdetectError
from advdetect.requirements import data_sets
from advdetect.requirements.subsets import Images

OPTIONS = {
    **{"image_size": 8, "resize": 10, "interpolation": "bilinear"},
    **{"class_file": None, "labels_file": None},
}
FISH, OWL, WOLF = "n01440764", "n01622779", "n02114367"
NAMES = ("tench", "great grey owl", "timber wolf")
#: The class of the images 1 to 4.
WORDNETS = (WOLF, FISH, WOLF, OWL)
LABELS = [2, 0, 2, 1]
CLASSES = f"{FISH} tench, Tinca tinca\n{OWL} great grey owl, Strix\n{WOLF} timber wolf\n"


def file_name(number):
    return f"ILSVRC2012_val_{number:08}"


def draw(number):
    return Image.fromarray(np.full((12, 14, 3), 50 * number, np.uint8))


@pytest.fixture
def flat(tmp_path):
    """Four images in one folder, without their labels."""
    (tmp_path / "val").mkdir()
    for number in range(1, 5):
        draw(number).save(tmp_path / "val" / f"{file_name(number)}.JPEG")
    return tmp_path


@pytest.fixture
def by_class(tmp_path):
    """The same images in the folders of their classes."""
    for number, wordnet in enumerate(WORDNETS, 1):
        folder = tmp_path / "val" / wordnet
        folder.mkdir(parents=True, exist_ok=True)
        draw(number).save(folder / f"{file_name(number)}.JPEG")
    return tmp_path


def load(root, **options):
    return imagenet.load(root=str(root), **OPTIONS | options)


def brightness(split, folder):
    """Return the numbers of the images, which are their brightness."""
    images = with_images(split, 2, folder).images
    assert images.shape == (len(split), 3, 8, 8)
    return (images.float().mean((1, 2, 3)) / 50).round().int().tolist()


def test_folders_of_classes_are_numbered_in_order(by_class, tmp_path):
    split = load(by_class)["test"]
    assert split.class_names == (FISH, OWL, WOLF)
    assert split.labels.tolist() == [0, 1, 2, 2]
    assert brightness(split, tmp_path) == [2, 4, 1, 3]
    found = data_sets.imagenet(root=str(by_class), **OPTIONS)
    assert found == Images(train=0, test=4, classes=3)


def test_images_may_be_of_some_of_the_classes(by_class):
    shutil.rmtree(by_class / "val" / OWL)
    assert load(by_class)["test"].labels.tolist() == [0, 1, 1]
    (by_class / "mine.txt").write_text(CLASSES)
    split = load(by_class, class_file="mine.txt")["test"]
    assert split.class_names == NAMES
    assert split.labels.tolist() == [0, 2, 2]
    assert len(load(by_class, class_file="mine.txt")["train"]) == 0


def write_kaggle(root):
    lines = [f"{file_name(n)},{w} 85 1 499 272 " for n, w in enumerate(WORDNETS, 1)]
    text = "\n".join(["ImageId,PredictionString", *reversed(lines)])
    (root / "LOC_val_solution.csv").write_text(text)


def write_numbers(root):
    lines = [f"{file_name(n)}.JPEG {label}" for n, label in enumerate(LABELS, 1)]
    (root / "val.txt").write_text("\n".join(lines))
    (root / "synset_words.txt").write_text("".join(reversed(CLASSES.splitlines(True))))


def write_in_order(root):
    path = root / "imagenet_2012_validation_synset_labels.txt"
    path.write_text("\n".join(WORDNETS) + "\n", encoding="utf-8-sig")  # as some editors do


def write_devkit(root):
    """As in the development kit: its numbers are not in WordNet's order, and there are groups."""
    folder = root / "ILSVRC2012_devkit_t12" / "data"
    folder.mkdir(parents=True)
    rows = [(1, WOLF, "timber wolf, grey wolf", 0), (2, FISH, "tench", 0)]
    rows += [(3, OWL, "great grey owl", 0), (4, "n00000001", "animal", 3)]
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds)[:, None]})
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n1\n3\n")


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (write_kaggle, (FISH, OWL, WOLF)),
        (write_numbers, NAMES),
        (write_in_order, (FISH, OWL, WOLF)),
        (write_devkit, NAMES),
    ],
)
def test_images_in_one_folder_have_the_labels_of_a_file(flat, write, names):
    write(flat)
    (flat / "val" / ".DS_Store").write_text("")
    split = load(flat)["test"]
    assert split.class_names == names
    assert split.labels.tolist() == LABELS
    assert brightness(split, flat) == [1, 2, 3, 4]
    (flat / "val" / f"{file_name(2)}.JPEG").unlink()  # any of them will do
    assert len(load(flat)["test"]) == 3


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.md", "", r"has no labels of the images in val: put one of LOC_val_solution\.csv"),
        ("val.txt", "ILSVRC2012_val_00000001.JPEG 3", r"val\.txt has no label of .*00000002\.JPEG"),
        ("val.txt", "1\n2\n3\n4", r"numbers such as 1 alone, whose meaning only the development"),
        ("val.txt", f"{FISH}\n{OWL}\n", r"has 2 labels in the order of the images, and .*00000003"),
        (
            "val.txt",
            "\n".join(f"{file_name(n)} {n}" for n in range(1, 5)),
            r"The label 1 is the number of a class, and which classes there are is not known",
        ),
        (
            "classes.txt",
            f"{FISH}\n{OWL}\n",
            r"00000001\.JPEG has the label n02114367, which is none of the 2 classes",
        ),
    ],
)
def test_labels_that_are_wrong_are_refused(flat, name, text, said):
    (flat / name).write_text(text)
    if name == "classes.txt":
        write_kaggle(flat)
    with pytest.raises(AdvdetectError, match=said) as error:
        load(flat)
    assert "\n" not in str(error.value)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(AdvdetectError, match=r"val does not exist: ImageNet must hold val/<wnid>/"):
        load(tmp_path)
    (tmp_path / "val").mkdir()
    with pytest.raises(AdvdetectError, match=r"val holds no image: ImageNet must hold"):
        load(tmp_path)


def test_real_photographs(photos_archive, tmp_path):
    """500 photos of 500 of the 1,000 classes, of which the first are taken."""
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not in 3.11.2
    with tarfile.open(photos_archive, "r|gz") as archive:
        for count, member in enumerate(archive):
            archive.extract(member, tmp_path, **safely)
            if count == 12:
                break
    root = tmp_path / "imagenet-photos"
    wordnets = [line.split()[0] for line in (root / "classes.txt").read_text().splitlines()]
    split = load(root, image_size=224, resize=256)["test"]
    assert (len(split.class_names), len(set(split.class_names))) == (1000, 1000)
    assert split.labels.tolist() == [wordnets.index(path.parent.name) for path in split.sources]
    read = with_images(split.take(torch.arange(3)), 2, tmp_path)
    transform = v2.Compose([v2.Resize(256), v2.CenterCrop(224)])
    for path, image in zip(split.sources[:3], read.images, strict=True):
        expected = np.asarray(transform(Image.open(path).convert("RGB")))
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), expected)
