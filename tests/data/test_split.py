"""What the loader of a user's data set may return, and what is said of anything else."""

import pytest
import torch

from advdetect.data.split import ImageSplit, checked_splits
from advdetect.errors import AdvdetectError

IMAGES = torch.zeros(6, 1, 4, 5, dtype=torch.uint8)
LABELS = torch.arange(6) % 3
CLASSES = ("a", "b", "c")
GOOD = ImageSplit(IMAGES, LABELS, CLASSES)


def test_sound_splits_pass():
    found = checked_splits({"train": GOOD, "test": GOOD, "extra": None}, "The data set x")
    assert found == {"train": GOOD, "test": GOOD}


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ((IMAGES, LABELS), "is a tuple, not an ImageSplit"),
        (ImageSplit(IMAGES / 255, LABELS, CLASSES), "they are torch.float32 (6, 1, 4, 5)"),
        (ImageSplit(IMAGES[:, 0], LABELS, CLASSES), "they are torch.uint8 (6, 4, 5)"),
        (ImageSplit(IMAGES.numpy(), LABELS, CLASSES), "they are others"),
        (ImageSplit(IMAGES, LABELS[:5], CLASSES), "one int64 label for each of its 6 images"),
        (ImageSplit(IMAGES, LABELS.float(), CLASSES), "one int64 label for each of its 6 images"),
        (ImageSplit(IMAGES, LABELS, list(CLASSES)), "must have a tuple of class names"),
        (ImageSplit(IMAGES, LABELS, ("a", "b", "a")), "none of them twice"),
        (ImageSplit(IMAGES, LABELS, (0, 1, 2)), "class names that are texts"),
        (ImageSplit(IMAGES, LABELS * 0, ("a",)), "has 1 class: there is nothing to tell apart"),
        (ImageSplit(IMAGES, LABELS, ()), "has no class: there is nothing to tell apart"),
        (ImageSplit(IMAGES[:, :, :0], LABELS, CLASSES), "has images of shape (1, 0, 5)"),
        (ImageSplit(IMAGES, LABELS + 1, CLASSES), "has labels from 1 to 3; of 3 classes they go f"),
        (ImageSplit(IMAGES, LABELS - 1, CLASSES), "has labels from -1 to 1"),
    ],
)
@pytest.mark.parametrize("name", ["train", "test"])
def test_a_split_that_is_none_is_explained(split, said, name):
    with pytest.raises(AdvdetectError) as caught:
        checked_splits({"train": GOOD, "test": GOOD} | {name: split}, "The data set x")
    assert str(caught.value).startswith(f"The data set x: the {name} split ")
    assert said in str(caught.value)


def test_only_training_images_may_be_missing():
    none = ImageSplit(IMAGES[:0], LABELS[:0], CLASSES)
    assert len(checked_splits({"train": none, "test": GOOD}, "The data set x")["train"]) == 0
    with pytest.raises(AdvdetectError, match=r"^The data set x: the test split has no images\.$"):
        checked_splits({"train": GOOD, "test": none}, "The data set x")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((GOOD, GOOD), "returned tuple: it must return a dict of an ImageSplit by 'train' and"),
        ({"train": GOOD}, "returned a dict of train: it must"),
        (
            {"train": GOOD, "test": ImageSplit(IMAGES, LABELS, ("a", "b", "d"))},
            "the splits differ in their classes: ('a', 'b', 'c') for training, ('a', 'b', 'd') for",
        ),
        (
            {"train": GOOD, "test": ImageSplit(IMAGES[..., :4], LABELS, CLASSES)},
            "the splits differ in their shape of images: (1, 4, 5) for training, (1, 4, 4) for",
        ),
    ],
)
def test_splits_that_do_not_belong_together_are_explained(found, said):
    with pytest.raises(AdvdetectError) as caught:
        checked_splits(found, "The data set x")
    assert said in str(caught.value)
