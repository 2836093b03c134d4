import pytest
import torch

from advdetect.data.split import ImageSplit
from advdetect.data.subset import hold_out_validation, left_out, stratified, subset
from advdetect.errors import AdvdetectError


@pytest.fixture
def split():
    labels = torch.arange(100) % 4
    images = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1)
    return ImageSplit(images, labels, ("a", "b", "c", "d"))


def test_subset_is_stratified_in_order_and_keeps_pairs(split):
    part = subset(split, 20, 0, "test")
    assert torch.bincount(part.labels).tolist() == [5, 5, 5, 5]
    rows = part.images.flatten().long()
    assert torch.equal(rows, rows.sort().values)
    assert torch.equal(rows % 4, part.labels)


def test_subset_depends_on_the_seed_only(split):
    rows = [subset(split, 20, seed, "test").images.flatten().tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize("count", [None, 100])
def test_the_whole_split_is_left_alone(split, count):
    assert subset(split, count, 0, "test") is split


@pytest.mark.parametrize(
    ("count", "said"), [(101, "has only 100 images"), (3, "below the number of classes")]
)
def test_impossible_counts_say_what_to_ask_for(split, count, said):
    with pytest.raises(AdvdetectError, match=said):
        subset(split, count, 0, "train")


def test_a_test_split_may_have_fewer_images_than_there_are_classes(split):
    labels = subset(split, 3, 0, "test").labels
    assert len(labels.unique()) == 3


def test_what_a_subset_leaves_out_is_all_the_rest(split):
    parts = [subset(split, 60, 3, "train"), left_out(split, 60, 3)]
    assert torch.bincount(parts[1].labels).tolist() == [10, 10, 10, 10]
    rows = [part.images.flatten().tolist() for part in parts]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    assert rows[1] == sorted(rows[1])
    assert torch.equal(parts[1].images.flatten().long() % 4, parts[1].labels)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (None, "set dataset.train_count to fewer than the 100 that there are"),
        (100, "set dataset.train_count to fewer than the 100 that there are"),
        (101, "has only 100 images"),
    ],
)
def test_where_nothing_is_left_out_it_says_what_to_set(split, count, said):
    with pytest.raises(AdvdetectError, match=said):
        left_out(split, count, 0)


@pytest.mark.parametrize("count", [8, 100])
def test_rows_are_drawn_in_proportion_to_the_classes(split, count):
    rows = stratified(split.labels, count, 5)
    assert torch.equal(rows, rows.unique())
    assert torch.bincount(split.labels[rows]).tolist() == [count // 4] * 4


def test_the_validation_split_is_a_stratified_sixth_that_training_no_longer_has(split):
    remaining, validation = hold_out_validation(split, 0)
    assert torch.bincount(validation.labels).tolist() == [4, 4, 4, 4]
    rows = [part.images.flatten().tolist() for part in (remaining, validation)]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    assert rows == [sorted(part) for part in rows]
    assert validation.class_names == split.class_names


def test_a_validation_split_needs_an_image_of_each_class(split):
    small = ImageSplit(split.images[:20], split.labels[:20], split.class_names)
    with pytest.raises(AdvdetectError, match=r"here 3 of 20.*use more training images"):
        hold_out_validation(small, 0)


@pytest.mark.parametrize("count", [97, 98, 99])
def test_nearly_all_images_may_be_drawn(split, count):
    part = subset(split, count, 0, "test")
    rows = part.images.flatten().long()
    assert len(part) == len(rows.unique()) == count
    assert torch.equal(rows, rows.sort().values)
    assert torch.bincount(part.labels).min() >= 24
    assert torch.equal(subset(split, count, 0, "test").images, part.images)


@pytest.fixture
def rare(split):
    """The same images, of which one is of a class of its own."""
    labels = split.labels % 3
    labels[41] = 3
    return ImageSplit(split.images, labels, split.class_names)


def test_a_class_of_one_image_is_no_obstacle(rare):
    part = subset(rare, 20, 0, "train")
    assert len(part) == 20
    assert torch.equal(part.labels, rare.labels[part.images.flatten().long()])
    counts = torch.bincount(part.labels, minlength=4)[:3]
    assert (counts - torch.tensor([10, 5, 5])).abs().max() <= 1
    remaining, validation = hold_out_validation(rare, 0)
    rows = [each.images.flatten().tolist() for each in (remaining, validation)]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    assert len(validation) == 16


@pytest.mark.parametrize("seed", [2**32, 2**63 + 5, 10**30])
def test_a_seed_may_be_of_any_size(split, seed):
    assert len(subset(split, 20, seed, "test")) == 20
    assert torch.equal(subset(split, 20, 2**32, "test").images, subset(split, 20, 0, "test").images)
