"""The validation images of ILSVRC-2012 (Russakovsky et al. 2015), for models that have weights."""

from pathlib import Path

from advdetect.data.cropping import Crop, ImageReader
from advdetect.data.image_folder import unread
from advdetect.data.imagenet_listing import list_imagenet
from advdetect.data.split import Split


def load(
    *,
    root: str,
    image_size: int,
    resize: int,
    interpolation: str,
    class_file: str | None,
    labels_file: str | None,
) -> dict[str, Split]:
    """List the validation images, which are read when they are chosen; there are none for training.

    Args:
        root: Folder that holds ``val/<wnid>/<image>``, or ``val/<image>`` and a file of labels.
        image_size: Height and width of the central square.
        resize: Shorter side before it is cut out, at least ``image_size``.
        interpolation: ``bilinear`` or ``bicubic``.
        class_file: Name of a file in ``root`` that lists all classes; None: one of the usual.
        labels_file: Name of a file in ``root`` with the labels, where they are not the folders;
            None: one of the usual.

    Returns:
        ``{"train": …, "test": …}`` with (3, image_size, image_size) images, none for training.

    Raises:
        AdvdetectError: A folder, file or label is missing.
    """
    listed = list_imagenet(Path(root), class_file, labels_file)
    return unread(listed, ImageReader(3, Crop(image_size, resize, interpolation)))
