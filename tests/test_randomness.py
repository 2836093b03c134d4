import numpy as np
import pytest
import torch

from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed


def test_seeds_of_different_purposes_differ_and_do_not_collide_by_concatenation():
    purposes = [(0, "a", "b"), (0, "ab"), (0, "a"), (1, "a", "b"), (0, "b", "a")]
    assert len({derive_seed(seed, *names) for seed, *names in purposes}) == len(purposes)


def test_seed_is_the_same_on_every_machine():
    # printf '0\x1fattack\x1fotcm' | sha256sum, first 8 bytes, without the last bit
    assert derive_seed(0, "attack", "otcm") == 0x78CC4B1E403AF796


def test_numbers_belong_to_the_image_and_not_to_the_batch():
    whole = SampleGenerator(7, range(10)).normal(3, 4)
    parts = SampleGenerator(7, range(10))
    joined = torch.cat([parts[slice(0, 3)].normal(3, 4), parts[slice(3, 10)].normal(3, 4)])
    alone = SampleGenerator(7, torch.tensor([8])).normal(3, 4)
    assert torch.equal(whole, joined)
    assert torch.equal(whole[8:9], alone)


def test_streams_advance_and_differ():
    generator = SampleGenerator(7, [0, 1])
    first, second = generator.uniform(100), generator.uniform(100)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    other = SampleGenerator(8, [0, 1]).uniform(100)
    assert not torch.equal(first, other)


def test_chosen_images_share_their_streams_with_the_whole():
    whole, expected = SampleGenerator(7, range(5)), SampleGenerator(7, range(5))
    first, second = expected.uniform(3), expected.uniform(3)
    rows = torch.tensor([4, 1])
    assert torch.equal(whole[rows].uniform(3), first[rows])
    assert torch.equal(whole[1:2].uniform(3), second[1:2])
    assert torch.equal(whole[torch.tensor([0])].uniform(3), first[:1])


@pytest.mark.parametrize("high", [2, 9])
def test_integers_are_uniform(high):
    draws = SampleGenerator(3, range(6000)).integers(high)
    counts = np.bincount(draws.numpy(), minlength=high)
    expected = len(draws) / high
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert len(counts) == high
    assert chi_square < high + 5 * np.sqrt(2 * high)


def test_normal_numbers_are_uncorrelated_between_neighbouring_images():
    draws = SampleGenerator(3, range(2)).normal(20000).numpy()
    assert abs(np.corrcoef(draws)[0, 1]) < 0.03
    assert abs(draws.mean()) < 0.02
    assert abs(draws.std() - 1) < 0.02
