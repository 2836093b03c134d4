"""Fruits-360 (Mureșan & Oltean 2018): photographs of fruits and vegetables on white."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from advdetect.data.cropping import Crop, ImageReader
from advdetect.data.image_folder import unread
from advdetect.data.listing import FRUITS360, list_folder
from advdetect.data.split import Split

_NUMBER = re.compile(r" \d+$")


def load(*, root: str, image_size: int, interpolation: str) -> dict[str, Split]:
    """List the images, which are read when they are chosen; the classes are those that are there.

    Args:
        root: Folder that holds ``Training/<class>/<image>`` and ``Test/<class>/<image>``.
        image_size: Height and width of the result; the files have 100 × 100 pixels.
        interpolation: ``bilinear`` or ``bicubic``, where that is another size.

    Returns:
        ``{"train": …, "test": …}`` with (3, image_size, image_size) images.

    Raises:
        AdvdetectError: A folder is missing or empty, or the two splits have different classes.
    """
    listed = list_folder(Path(root), FRUITS360, None)
    listed = replace(listed, class_names=shortened(listed.class_names))
    return unread(listed, ImageReader(3, Crop(image_size, None, interpolation)))


def shortened(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names without the number at their end, where there is only one number of a name."""
    short = [_NUMBER.sub("", name) for name in names]
    counts = Counter(short)
    return tuple(s if counts[s] == 1 else name for s, name in zip(short, names, strict=True))
