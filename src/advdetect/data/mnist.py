"""MNIST (LeCun et al. 1998): torchvision's mirrors, or files placed by hand, checked either way."""

import hashlib
from pathlib import Path

from torchvision.datasets import MNIST

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError


def load(*, root: str, sha256: dict[str, str]) -> dict[str, ImageSplit]:
    """Load MNIST; download it first where ``<root>/MNIST/raw`` lacks it.

    Args:
        root: Folder that holds, or will hold, ``MNIST/raw/`` in torchvision's layout.
        sha256: Expected SHA-256 of each uncompressed file, by file name.

    Returns:
        ``{"train": …, "test": …}`` with 60,000 and 10,000 images of shape (1, 28, 28).

    Raises:
        AdvdetectError: The download fails, or a file is not the published one.
    """
    folder = Path(root) / "MNIST" / "raw"
    by_hand = (
        f"Place the uncompressed files {', '.join(sha256)} in {folder.resolve()} by hand, or name "
        f"another folder with dataset.root."
    )
    if not all((folder / name).is_file() for name in sha256):
        try:
            MNIST(root, download=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: torchvision, every mirror failed
            mirrors = ", ".join(MNIST.mirrors)
            raise AdvdetectError(
                f"MNIST could not be downloaded from {mirrors} ({error}). {by_hand}"
            ) from error
    for name, expected in sha256.items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        if found != expected:
            raise AdvdetectError(
                f"{folder / name} is not the published file: its SHA-256 is {found}, expected "
                f"{expected}. Delete it to download it again. {by_hand}"
            )
    return {name: _split(MNIST(root, train=name == "train")) for name in ("train", "test")}


def _split(dataset: MNIST) -> ImageSplit:
    names = tuple(str(digit) for digit in range(10))
    return ImageSplit(dataset.data.unsqueeze(1).contiguous(), dataset.targets.long(), names)
