"""Splits whose images are read when they are wanted: which of them, in which order, by whom."""

import threading

import numpy as np
import pytest
import torch

from advdetect.data.reading import with_images
from advdetect.data.split import ImageSplit, UnreadSplit, checked_splits
from advdetect.data.subset import hold_out_validation, subset
from advdetect.errors import AdvdetectError

SHAPE = (3, 4, 5)
CLASSES = ("a", "b", "c")


class Shelf:
    """Twelve numbered images, and which of them were read."""

    def __init__(self):
        self.read, self.readers = [], set()

    def look(self, number):
        self.read.append(number)
        self.readers.add(threading.get_ident())
        if number == 11:
            raise AdvdetectError("number 11 is torn")
        return np.full(SHAPE, number, np.uint8)

    def split(self):
        return UnreadSplit(range(12), torch.arange(12) % 3, CLASSES, SHAPE, self.look)


def test_only_the_chosen_images_are_read_and_keep_their_labels(tmp_path):
    shelf = Shelf()
    chosen = subset(shelf.split().take(torch.arange(11)), 6, 0, "test")
    assert shelf.read == []
    split = with_images(chosen, 3, tmp_path)
    numbers = split.images[:, 0, 0, 0].long()
    assert sorted(shelf.read) == numbers.tolist()
    assert torch.equal(numbers % 3, split.labels)
    assert (split.images == numbers.view(-1, 1, 1, 1)).all()
    assert split.images.shape == (6, *SHAPE)
    assert threading.get_ident() not in shelf.readers
    assert list(tmp_path.iterdir()) == []


def test_they_are_divided_as_images_that_are_there(tmp_path):
    read = ImageSplit(torch.zeros(12, *SHAPE, dtype=torch.uint8), torch.arange(12) % 3, ("a", "b"))
    listed = Shelf().split()
    for unread, same in zip(
        hold_out_validation(listed.take(torch.arange(11).repeat(2)), 4),
        hold_out_validation(read.take(torch.arange(11).repeat(2)), 4),
        strict=True,
    ):
        assert torch.equal(unread.labels, same.labels)


def test_what_cannot_be_read_is_said_and_leaves_nothing(tmp_path):
    with pytest.raises(AdvdetectError, match="number 11 is torn"):
        with_images(Shelf().split(), 2, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_images_are_a_split_too(tmp_path):
    none = Shelf().split().take(torch.arange(0))
    splits = checked_splits({"train": none, "test": Shelf().split()}, "The data set x")
    assert with_images(splits["train"], 2, tmp_path).images.shape == (0, *SHAPE)
