"""Any directory of ``train/<class>/…`` and ``test/<class>/…`` images."""

from pathlib import Path

import torch

from advdetect.data.cropping import Crop, ImageReader
from advdetect.data.listing import IMAGE_FOLDER, ListedFolder, Listing, list_folder
from advdetect.data.split import Split, UnreadSplit
from advdetect.progress import report


def load(
    *,
    root: str,
    image_size: int,
    resize: int | None,
    interpolation: str,
    channels: int,
    class_file: str | None,
) -> dict[str, Split]:
    """List a directory of images, which are read when they are chosen.

    Each image is scaled so that its shorter side is ``resize`` and cut to the central square.

    Args:
        root: Folder that holds ``train/<class>/<image>``, unless nothing is trained, and
            ``test/<class>/<image>`` or ``val/…``.
        image_size: Height and width of the result in pixels.
        resize: Shorter side before it is cut, at least ``image_size``; None: ``image_size``.
        interpolation: ``bilinear`` or ``bicubic``.
        channels: 1 (grey) or 3 (RGB).
        class_file: Name of a file in ``root`` that lists all classes; None: they are the folders.

    Returns:
        ``{"train": …, "test": …}`` with (channels, image_size, image_size) images, perhaps none for
        training.

    Raises:
        AdvdetectError: A folder is missing or empty, or the two splits have different classes.
    """
    listed = list_folder(Path(root), IMAGE_FOLDER, class_file)
    return unread(listed, ImageReader(channels, Crop(image_size, resize, interpolation)))


def unread(listed: ListedFolder, reader: ImageReader) -> dict[str, Split]:
    """Return splits of images that were listed, and say which files were left out."""
    for listing in listed.splits.values():
        _say_what_is_left_out(listing)
    return {
        name: UnreadSplit(
            listing.paths,
            torch.tensor(listing.labels, dtype=torch.int64),
            listed.class_names,
            reader.shape,
            reader,
        )
        for name, listing in listed.splits.items()
    }


def _say_what_is_left_out(listing: Listing) -> None:
    if listing.left_out:
        report(
            f"prepare-data: left out files that are in no class or no images by their names: "
            f"{len(listing.left_out)}, such as {listing.left_out[0]}"
        )
