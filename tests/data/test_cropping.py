"""The crop is torchvision's, to the pixel."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from advdetect.data.cropping import Crop

FILTERS = {
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("size", "resize", "crop"),
    [
        ((31, 23), 20, 16),  # (width, height)
        ((23, 31), 20, 15),
        ((100, 37), 16, 16),
        ((9, 7), 24, 21),  # enlarged
        ((21, 20), 20, 20),  # half a pixel on either side
        ((23, 20), 20, 20),
    ],
)
def test_it_is_what_torchvision_resizes_and_cuts(size, resize, crop, interpolation):
    generator = np.random.default_rng(sum(size))
    pixels = generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    transform = v2.Compose(
        [v2.Resize(resize, FILTERS[interpolation], antialias=True), v2.CenterCrop(crop)]
    )
    expected = np.asarray(transform(image)).transpose(2, 0, 1)
    np.testing.assert_array_equal(Crop(crop, resize, interpolation)(image), expected)
    if resize == crop:
        np.testing.assert_array_equal(Crop(crop, None, interpolation)(image), expected)


def test_grey_images_have_a_channel():
    pixels = torch.arange(30, dtype=torch.uint8).view(5, 6)
    cut = Crop(4, 5, "bicubic")(Image.fromarray(pixels.numpy()))
    assert torch.equal(torch.from_numpy(cut), pixels[None, :4, 1:5])
