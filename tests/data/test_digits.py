import numpy as np
import torch
from sklearn.datasets import load_digits

from advdetect.data import digits


def test_digits_are_all_there_once():
    splits = digits.load(test_fraction=0.4, split_seed=0)
    images = torch.cat([splits["train"].images, splits["test"].images])
    assert images.shape == (1797, 1, 8, 8)
    assert images.dtype == torch.uint8
    ours = np.sort(images.numpy().reshape(1797, -1).sum(1, dtype=np.int64))
    theirs = np.sort(np.round(load_digits().data * 255 / 16).astype(np.int64).sum(1))
    np.testing.assert_array_equal(ours, theirs)


def test_levels_come_back_from_8_bits():
    split = digits.load(test_fraction=0.4, split_seed=0)["test"]
    levels = split.images.double() / 255 * 16
    assert (levels - levels.round()).abs().max() < 16 / 255
    assert len(split.images.unique()) == 17


def test_split_is_stratified_and_disjoint():
    splits = digits.load(test_fraction=0.4, split_seed=0)
    counts = torch.bincount(splits["test"].labels).float()
    assert counts.max() - counts.min() <= 4
    train = {row.numpy().tobytes() for row in splits["train"].images}
    test = {row.numpy().tobytes() for row in splits["test"].images}
    assert not train & test
