"""Any directory of ``train/<class>/…`` and ``test/<class>/…`` images."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from advdetect.data.pixels import SUFFIXES, decode
from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError
from advdetect.progress import report

_LAYOUT = "a folder of images must hold train/<class>/<image> and test/<class>/<image>"


def load(*, root: str, image_size: int, channels: int) -> dict[str, ImageSplit]:
    """Load a directory of images; the classes are the folders of ``train``.

    Each image is scaled (bicubic) so that its shorter side is ``image_size`` and cut to the
    central square. Folders below a class count as part of it; hidden files and folders do not.

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
    if not folder.is_dir():
        raise AdvdetectError(f"The folder {folder} does not exist: {_LAYOUT}.")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and _is_shown(path))
    if not classes:
        raise AdvdetectError(f"{folder} holds no folders: {_LAYOUT}.")
    paths: list[Path] = []
    labels: list[int] = []
    skipped = sorted(path for path in folder.iterdir() if not path.is_dir())  # in no class
    for label, name in enumerate(classes):
        before = len(paths)
        for path in _files(folder / name):
            (paths if _is_image(path) else skipped).append(path)
        if len(paths) == before:
            raise AdvdetectError(f"The class folder {folder / name} holds no image: {_LAYOUT}.")
        labels += [label] * (len(paths) - before)
    if skipped:
        report(
            f"prepare-data: left out files of {folder} that are in no class or no images by their "
            f"names: {len(skipped)}, such as {skipped[0].relative_to(folder)}"
        )
    images = np.stack([_load_image(path, image_size, channels) for path in paths])
    return ImageSplit(
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.tensor(labels),
        tuple(classes),
    )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in the order of their folders' and their own names."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if _is_shown(Path(name)))
        yield from (Path(parent, name) for name in sorted(names))


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")


def _is_image(path: Path) -> bool:
    return _is_shown(path) and path.suffix.lower() in SUFFIXES


def _load_image(path: Path, image_size: int, channels: int) -> np.ndarray:
    image = decode(path, channels)
    scale = image_size / min(image.size)
    width, height = (max(image_size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - image_size) // 2, (height - image_size) // 2
    image = image.crop((left, top, left + image_size, top + image_size))
    return np.asarray(image).reshape(image_size, image_size, channels)
