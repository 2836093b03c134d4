from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from advdetect.autoencoders.alpha_gan import AlphaGan
from advdetect.autoencoders.architecture import DenoisingAutoEncoder, add_noise, initialise
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

STRUCTURES = [[3, "average", 3], [3], [4, "max", 5, "average", 6], ["average", 2]]


def images(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def convolutions(autoencoder: nn.Module) -> list[tuple[int, int]]:
    return [
        (layer.in_channels, layer.out_channels)
        for layer in autoencoder.modules()
        if isinstance(layer, nn.Conv2d)
    ]


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 8, 8), (1, 7, 9), (2, 1, 5)])
def test_reconstructions_have_the_shape_and_the_range_of_the_images(structure, shape):
    batch = images(4, *shape)
    result = DenoisingAutoEncoder(structure, shape[0])(batch).detach()
    assert result.shape == batch.shape
    assert result.is_contiguous()
    assert 0 < float(result.min()) <= float(result.max()) < 1


def test_layers_are_those_of_the_paper():
    first = DenoisingAutoEncoder([3, "average", 3])
    assert convolutions(first) == [(1, 3), (3, 3), (3, 3), (3, 3), (3, 1)]
    assert convolutions(DenoisingAutoEncoder([3])) == [(1, 3), (3, 3), (3, 1)]
    unequal = convolutions(DenoisingAutoEncoder([4, "max", 7], in_channels=3))
    assert unequal == [(3, 4), (4, 7), (7, 7), (7, 4), (4, 3)]
    assert all(before[1] == after[0] for before, after in pairwise(unequal))


def test_matches_the_layers_written_out():
    autoencoder = DenoisingAutoEncoder([3, "average", 3])
    batch = images(2, 1, 6, 6)
    weights = list(autoencoder.parameters())

    def convolve(x, number):
        weight, bias = weights[2 * number : 2 * number + 2]
        return torch.sigmoid(functional.conv2d(x, weight, bias, padding=1))

    half = convolve(functional.avg_pool2d(convolve(batch, 0), 2), 1)
    full = convolve(half, 2).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(autoencoder(batch), convolve(convolve(full, 3), 4))


def test_pooling_at_an_odd_edge_averages_only_the_pixels_that_are_there():
    layer = DenoisingAutoEncoder(["average", 1]).encoder[0]
    assert torch.equal(layer(torch.ones(1, 1, 3, 5)), torch.ones(1, 1, 2, 3))


def test_does_not_depend_on_the_batch():
    autoencoder = DenoisingAutoEncoder([3, "max", 3])
    batch = images(9, 1, 7, 7)
    parts = torch.cat([autoencoder(part) for part in batch.split(2)])
    torch.testing.assert_close(parts, autoencoder(batch))


@pytest.mark.parametrize("structure", [[], [3, "mean"], [0], [2.5]])
def test_an_impossible_structure_is_refused(structure):
    with pytest.raises(AdvdetectError, match="structure"):
        DenoisingAutoEncoder(structure)


@pytest.mark.parametrize(
    "autoencoder",
    [DenoisingAutoEncoder([3], noise=0.3), AlphaGan(1, 7, 6, code_size=4, maps=2)],
    ids=["denoising", "alpha_gan"],
)
def test_a_random_reconstruction_belongs_to_its_image(autoencoder):
    batch = images(6, 1, 7, 6)
    initialise(autoencoder)
    with torch.no_grad():
        whole = autoencoder.draw(batch, SampleGenerator(0, range(6)))
        generator = SampleGenerator(0, range(6))
        parts = [
            autoencoder.draw(batch[rows], generator[rows]) for rows in map(slice_of, (0, 1, 2))
        ]
        again = autoencoder.draw(batch, generator)
    torch.testing.assert_close(torch.cat(parts), whole)
    assert ((again - whole).flatten(1).norm(dim=1) > 1e-4).all()  # streams advance
    assert whole.shape == batch.shape


def slice_of(part: int) -> slice:
    return slice(2 * part, 2 * part + 2)


def test_a_random_reconstruction_is_that_of_a_noisy_image():
    autoencoder, batch = DenoisingAutoEncoder([3], noise=0.5), images(5, 1, 6, 6)
    noise = SampleGenerator(3, range(5)).normal(1, 6, 6)
    noisy = add_noise(batch, noise, 0.5)
    assert 0 <= float(noisy.min()) < float(noisy.max()) <= 1
    drawn = autoencoder.draw(batch, SampleGenerator(3, range(5)))
    torch.testing.assert_close(drawn, autoencoder((batch + 0.5 * noise).clip(0, 1)))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 7, 9), (1, 1, 1)])
def test_alpha_gan_returns_images_of_any_size(shape):
    autoencoder = AlphaGan(*shape, code_size=5, maps=2)
    batch = images(3, *shape)
    assert autoencoder(batch).shape == batch.shape
    mean, deviation = autoencoder.posterior(batch)
    assert mean.shape == deviation.shape == (3, 5)
    assert (deviation > 0).all()
