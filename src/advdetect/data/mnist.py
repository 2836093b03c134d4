"""MNIST (LeCun et al. 1998): torchvision's mirrors, or files placed by hand, checked either way."""

import hashlib
from pathlib import Path

from torchvision.datasets import MNIST

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError, one_line

# Of the uncompressed files.
SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


def load(*, root: str) -> dict[str, ImageSplit]:
    """Load MNIST; download it first where ``<root>/MNIST/raw`` lacks it.

    Args:
        root: Folder that holds, or will hold, ``MNIST/raw/`` in torchvision's layout.

    Returns:
        ``{"train": …, "test": …}`` with 60,000 and 10,000 images of shape (1, 28, 28).

    Raises:
        AdvdetectError: The download fails, or a file is not the published one.
    """
    folder = Path(root) / "MNIST" / "raw"
    by_hand = (
        f"Place the uncompressed files {', '.join(SHA256)} in {folder.resolve()} by hand, or name "
        f"another folder with dataset.root."
    )
    if not all((folder / name).is_file() for name in SHA256):
        try:
            MNIST(root, download=True)
        except (OSError, RuntimeError) as error:  # RuntimeError: torchvision, every mirror failed
            mirrors = ", ".join(MNIST.mirrors)
            raise AdvdetectError(
                f"MNIST could not be downloaded from {mirrors} ({one_line(error)}). {by_hand}"
            ) from error
    for name, expected in SHA256.items():
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
