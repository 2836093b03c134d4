import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.feature_squeezing import feature_squeezing, median_filter, reduce_bits
from advdetect.randomness import SampleGenerator

COUNT = 12


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 4, 3)
        ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(COUNT, 2, 7, 6, generator=torch.Generator().manual_seed(1))


def feature_of(model: nn.Module, images: Tensor, **params: int | None) -> dict[str, Tensor]:
    generator = SampleGenerator(0, range(len(images)))
    result = feature_squeezing(model, images, generator=generator, **params)
    for values in result.values():
        assert values.dtype == torch.float64
        assert values.shape == (len(images),)
        assert not values.requires_grad
    return result


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_matches_the_definition_with_numpy_and_scipy(model: nn.Module, images: Tensor) -> None:
    pixels = images.numpy()
    forms = {
        "l1_bits": np.rint(pixels * 31) / 31,
        "l1_median": ndimage.median_filter(pixels, size=(1, 1, 2, 2), mode="reflect"),
    }
    with torch.no_grad():
        p = softmax(model(images).double().numpy())
        expected = {
            name: abs(softmax(model(torch.from_numpy(form)).double().numpy()) - p).sum(axis=1)
            for name, form in forms.items()
        }
    result = feature_of(model, images, bits=5, median=2)
    assert list(result) == ["l1_bits", "l1_median", "l1_max"]
    for name, values in expected.items():
        np.testing.assert_allclose(result[name].numpy(), values, rtol=1e-6, atol=1e-7)
    assert torch.equal(result["l1_max"], torch.maximum(result["l1_bits"], result["l1_median"]))


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_median_matches_scipy(images: Tensor, size: int) -> None:
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert (median_filter(images, size).numpy() == expected).all()


def test_one_bit_is_a_threshold() -> None:
    images = torch.tensor([0.0, 0.2, 0.49, 0.51, 1.0]).view(1, 1, 1, 5)
    assert reduce_bits(images, 1).flatten().tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_fewer_bits_leave_even_levels_and_the_ends(bits: int) -> None:
    levels = torch.linspace(0, 1, 2**bits)
    images = torch.linspace(0, 1, 1001).view(1, 1, 1, -1)
    squeezed = reduce_bits(images, bits).flatten()
    torch.testing.assert_close(squeezed.unique(), levels)
    assert float((squeezed - images.flatten()).abs().max()) <= 0.5 / (2**bits - 1) + 1e-7


@pytest.mark.parametrize(("left_out", "name"), [("bits", "l1_median"), ("median", "l1_bits")])
def test_a_squeezer_can_be_left_out(
    model: nn.Module, images: Tensor, left_out: str, name: str
) -> None:
    result = feature_of(model, images, **{left_out: None})
    assert list(result) == [name, "l1_max"]
    assert torch.equal(result["l1_max"], result[name])
    assert torch.equal(result[name], feature_of(model, images)[name])


def test_an_image_that_squeezing_leaves_alone_has_no_distance(model: nn.Module) -> None:
    images = torch.ones(2, 2, 7, 6)
    images[1] = 0
    assert all((values == 0).all() for values in feature_of(model, images).values())


def test_changes_neither_the_images_nor_the_model(model: nn.Module, images: Tensor) -> None:
    before = images.clone()
    feature_of(model, images)
    assert torch.equal(images, before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_image_does_not_depend_on_the_others(model: nn.Module, images: Tensor) -> None:
    whole = feature_of(model, images)
    for size in (1, 5):
        parts = [feature_of(model, part) for part in images.split(size)]
        for name, values in whole.items():
            together = torch.cat([part[name] for part in parts])
            torch.testing.assert_close(together, values, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bits": 0}, "bits of .* from 1 to 8, not 0"),
        ({"bits": 9}, "bits of .* from 1 to 8, not 9"),
        ({"median": 1}, "median of .* from 2 to the side of the images, 6, not 1"),
        ({"median": 7}, "median of .* from 2 to the side of the images, 6, not 7"),
        ({"bits": None, "median": None}, "no squeezer: set bits or median"),
    ],
)
def test_impossible_squeezers_are_refused(
    model: nn.Module, images: Tensor, params: dict[str, int | None], message: str
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        feature_of(model, images, **params)
