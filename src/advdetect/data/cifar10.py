"""CIFAR-10 (Krizhevsky 2009), the binary version: mirrors, or files placed by hand, checked."""

import os
import tarfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets.utils import calculate_md5, download_url

from advdetect.data.cropping import Crop
from advdetect.data.split import ImageSplit, Split, UnreadSplit
from advdetect.errors import AdvdetectError, one_line
from advdetect.files.atomic import atomic_path
from advdetect.files.locks import claimed

ARCHIVE = "cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # as it is published
#: Where the archive is; the checksum is that of the first.
MIRRORS = [
    "https://www.cs.toronto.edu/~kriz/",
    "https://cave.cs.toronto.edu/kriz/",
    "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
]
FOLDER = "cifar-10-batches-bin"
FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
#: Images of a file, as many of each class in all files of a split.
RECORDS = 10_000
SIDE = 32
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_SHAPE = (3, SIDE, SIDE)
_RECORD = 1 + 3 * SIDE**2  # a byte of the label, then the image


def load(*, root: str, image_size: int, interpolation: str) -> dict[str, Split]:
    """Load CIFAR-10; download it first where ``root`` has neither its files nor its archive.

    Args:
        root: Folder that holds, or will hold, ``cifar-10-batches-bin/``.
        image_size: Height and width of the result; another than 32 is scaled to.
        interpolation: ``bilinear`` or ``bicubic``, for that.

    Returns:
        ``{"train": …, "test": …}`` with 50,000 and 10,000 images of shape
        (3, image_size, image_size).

    Raises:
        AdvdetectError: The download fails, or a file is not the published one.
    """
    folder = Path(root) / FOLDER
    by_hand = (
        f"Place {ARCHIVE} in {Path(root).resolve()} by hand, or its folder {FOLDER}, or name "
        "another folder with dataset.root."
    )
    names = [name for files in FILES.values() for name in files]
    if not all((folder / name).is_file() for name in names):
        Path(root).mkdir(parents=True, exist_ok=True)
        with claimed(Path(root), ARCHIVE, range(1), wait=True):  # the splits are made side by side
            archive = Path(root) / ARCHIVE
            if not archive.is_file():
                _download(archive, by_hand)
            _unpack(archive, folder, names, by_hand)
    splits = {name: _split(folder, name, by_hand) for name in FILES}
    if image_size == SIDE:
        return dict(splits)
    crop = Crop(image_size, None, interpolation)
    return {name: _scaled(split, crop) for name, split in splits.items()}


def _download(archive: Path, by_hand: str) -> None:
    """Download the archive from the first mirror that has it; nothing else is left behind."""
    part = archive.with_name(f".{archive.name}.part")
    failures = []
    for mirror in MIRRORS:
        try:
            download_url(f"{mirror}{ARCHIVE}", str(part.parent), part.name, MD5)
            part.replace(archive)
        except (OSError, RuntimeError) as error:  # RuntimeError: torchvision, another checksum
            failures.append(f"{mirror}: {one_line(error)}")
        else:
            return
        finally:
            with suppress(FileNotFoundError):
                os.unlink(part)
    raise AdvdetectError(f"CIFAR-10 could not be downloaded ({'; '.join(failures)}). {by_hand}")


def _unpack(archive: Path, folder: Path, names: list[str], by_hand: str) -> None:
    """Write the files of the archive into their folder, each whole or not at all."""
    if (found := calculate_md5(archive)) != MD5:
        raise AdvdetectError(
            f"{archive} is not the published file: its MD5 is {found}, expected {MD5}. Delete it "
            f"to download it again. {by_hand}"
        )
    with tarfile.open(archive) as packed:
        for name in names:
            file = packed.extractfile(f"{FOLDER}/{name}")
            assert file is not None  # its checksum says so
            with atomic_path(folder / name) as path:
                path.write_bytes(file.read())


def _split(folder: Path, name: str, by_hand: str) -> ImageSplit:
    """Read a split, in which each class has as many images."""
    parts = []
    for path in (folder / file for file in FILES[name]):
        content = np.fromfile(path, np.uint8)
        if content.size != RECORDS * _RECORD:
            raise AdvdetectError(
                f"{path} is not the published file: it has {content.size} bytes, expected "
                f"{RECORDS * _RECORD}. Delete it to have it made again. {by_hand}"
            )
        parts.append(content.reshape(RECORDS, _RECORD))
    records = torch.from_numpy(np.concatenate(parts))
    labels = records[:, 0].long()
    counts = labels.bincount(minlength=len(CLASSES))
    if (counts != len(records) // len(CLASSES)).any():
        raise AdvdetectError(
            f"{folder} does not hold the published images: classes of the {name} split have "
            f"{counts.min()} to {counts.max()} images, expected {len(records) // len(CLASSES)} of "
            f"each of {len(CLASSES)}. Delete it to have it made again. {by_hand}"
        )
    return ImageSplit(records[:, 1:].reshape(-1, *_SHAPE), labels, CLASSES)


def _scaled(split: ImageSplit, crop: Crop) -> UnreadSplit:
    """Return a split whose images are scaled when they are chosen."""

    def read(row: int) -> np.ndarray:
        return crop(Image.fromarray(split.images[row].permute(1, 2, 0).contiguous().numpy()))

    shape = (3, crop.image_size, crop.image_size)
    return UnreadSplit(range(len(split)), split.labels, CLASSES, shape, read)
