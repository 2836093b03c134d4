"""A data split: its images, its labels and the names of its classes."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ImageSplit:
    """N labelled images.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64 in [0, len(class_names)).
        class_names: One name per class.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)
