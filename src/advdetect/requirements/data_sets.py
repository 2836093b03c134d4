"""How many images the project's data sets have: always the same, or as many as lie in a folder."""

import math
from pathlib import Path
from typing import Any

from advdetect.data.imagenet_listing import list_imagenet
from advdetect.data.listing import FRUITS360, IMAGE_FOLDER, Layout, ListedFolder, list_folder
from advdetect.requirements.crops import shorter_side
from advdetect.requirements.subsets import Images

_DIGITS = 1797


def digits(*, test_fraction: float, **_: Any) -> Images:
    """Return what `advdetect.data.digits.load` returns, as scikit-learn rounds."""
    test = math.ceil(_DIGITS * test_fraction)
    return Images(train=_DIGITS - test, test=test, classes=10)


def cifar10(**_: Any) -> Images:
    """Return what `advdetect.data.cifar10.load` returns."""
    return Images(train=50_000, test=10_000, classes=10)


def mnist(**_: Any) -> Images:
    """Return what `advdetect.data.mnist.load` returns."""
    return Images(train=60_000, test=10_000, classes=10)


def image_folder(
    *, root: str, image_size: int, resize: int | None, class_file: str | None, **_: Any
) -> Images:
    """Return what `advdetect.data.image_folder.load` returns."""
    shorter_side(image_size, resize)
    return _in_folder(root, IMAGE_FOLDER, class_file)


def fruits360(*, root: str, **_: Any) -> Images:
    """Return what `advdetect.data.fruits360.load` returns."""
    return _in_folder(root, FRUITS360, None)


def imagenet(
    *,
    root: str,
    image_size: int,
    resize: int,
    class_file: str | None,
    labels_file: str | None,
    **_: Any,
) -> Images:
    """Return what `advdetect.data.imagenet.load` returns."""
    shorter_side(image_size, resize)
    if not Path(root).is_dir():
        return Images(train=0)
    return _counted(list_imagenet(Path(root), class_file, labels_file))


def _in_folder(root: str, layout: Layout, class_file: str | None) -> Images:
    """Count the images below a folder; of one that is not there nothing is known."""
    if not Path(root).is_dir():
        return Images()
    return _counted(list_folder(Path(root), layout, class_file))


def _counted(listed: ListedFolder) -> Images:
    train, test = (len(listed.splits[name].paths) for name in ("train", "test"))
    return Images(train, test, len(listed.class_names))
