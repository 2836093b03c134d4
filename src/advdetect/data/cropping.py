"""Scaling an image and cutting out its centre, to the pixel as torchvision's transforms do it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from advdetect.data.pixels import decode
from advdetect.requirements.crops import shorter_side

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Crop:
    """The central square of an image whose shorter side is scaled, both ways with antialias.

    Attributes:
        image_size: Side of the square in pixels.
        resize: What the shorter side is scaled to; None: to the square.
        interpolation: ``bilinear`` or ``bicubic``.
    """

    image_size: int
    resize: int | None
    interpolation: str

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the (C, image_size, image_size) uint8 pixels of a grey or RGB image."""
        short = shorter_side(self.image_size, self.resize)
        width, height = (int(short * side / min(image.size)) for side in image.size)
        size = (width, height)
        if size != image.size:
            image = image.resize(size, _FILTERS[self.interpolation])
        # Half a pixel is rounded to the even one, as `round` does.
        left, top = (round((side - self.image_size) / 2) for side in size)
        square = image.crop((left, top, left + self.image_size, top + self.image_size))
        pixels = np.asarray(square).reshape(self.image_size, self.image_size, -1)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@dataclass(frozen=True)
class ImageReader:
    """Reads the file of an image and cuts it.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        crop: How it is cut.
    """

    channels: int
    crop: Crop

    def __call__(self, path: Path) -> np.ndarray:
        """Return the (C, H, W) uint8 pixels of a file.

        Raises:
            AdvdetectError: It cannot be decoded.
        """
        return self.crop(decode(path, self.channels))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what it returns."""
        return self.channels, self.crop.image_size, self.crop.image_size
