"""Any directory of ``train/<class>/…`` and ``test/<class>/…`` images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError


def load(*, root: str, image_size: int, channels: int) -> dict[str, ImageSplit]:
    """Load a directory of images; the classes are the folders of ``train``.

    Each image is scaled (bicubic) so that its shorter side is ``image_size`` and cut to the
    central square.

    Args:
        root: Folder that holds ``train/<class>/<image>`` and ``test/<class>/<image>``.
        image_size: Height and width of the result in pixels.
        channels: 1 (grey) or 3 (RGB).

    Returns:
        ``{"train": …, "test": …}`` with (N, channels, image_size, image_size) images.

    Raises:
        AdvdetectError: A folder is missing or empty, the two splits have different classes, or an
            image cannot be decoded.
    """
    splits = {
        name: _load_split(Path(root) / name, image_size, channels) for name in ("train", "test")
    }
    train, test = splits["train"].class_names, splits["test"].class_names
    if train != test:
        differing = sorted(set(train) ^ set(test))
        raise AdvdetectError(
            f"{root}: train and test must hold the same class folders; only one of them has "
            f"{', '.join(differing)}."
        )
    return splits


def _load_split(folder: Path, image_size: int, channels: int) -> ImageSplit:
    try:
        listing = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise AdvdetectError(
            f"{folder} must hold one folder of images per class ({error})."
        ) from error
    images = np.stack([_load_image(path, image_size, channels) for path, _ in listing.samples])
    return ImageSplit(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(listing.targets),
        tuple(listing.classes),
    )


def _load_image(path: str, image_size: int, channels: int) -> np.ndarray:
    try:
        with Image.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except OSError as error:
        raise AdvdetectError(
            f"The image {path} cannot be decoded ({error}): replace it."
        ) from error
    scale = image_size / min(image.size)
    width, height = (max(image_size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - image_size) // 2, (height - image_size) // 2
    image = image.crop((left, top, left + image_size, top + image_size))
    return np.asarray(image).reshape(image_size, image_size, channels)
