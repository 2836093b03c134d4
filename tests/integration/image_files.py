"""A small data set of image files: stripes across, stripes down, or none."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("across", "down", "plain")


def draw(kind: str, generator: np.random.Generator) -> Image.Image:
    """Draw an RGB image of 10×8 pixels: stripes across, stripes down or none."""
    pixels = generator.uniform(0.35, 0.65, (8, 10, 3))
    if kind == "across":
        pixels[::2] -= 0.3
    elif kind == "down":
        pixels[:, ::2] -= 0.3
    return Image.fromarray((255 * pixels).round().astype(np.uint8))


def write_stripes(folder: Path) -> None:
    """Write images of all classes: 40 each for training, 20 each for testing."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        for kind in CLASSES:
            images = folder / split / kind
            images.mkdir(parents=True)
            for number in range(count):
                draw(kind, generator).save(images / f"{number}.png")
