"""Running a model over images in batches."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError

#: Numbers of images at a time where no batch size is given, so that what a layer makes of them
#: stays small: 512 images of up to 64 × 64.
_PIXELS = 512 * 64 * 64


def batch_slices(count: int, batch_size: int) -> Iterator[slice]:
    """Yield the slices that cut ``count`` rows into batches of at most ``batch_size``."""
    for start in range(0, count, batch_size):
        yield slice(start, min(start + batch_size, count))


def forward_batch(image: Tensor) -> int:
    """Return how many images like one go forward at a time where no batch size is given.

    Args:
        image: (1, C, H, W).
    """
    return max(1, min(512, _PIXELS // max(1, image.numel())))


def map_batches(
    function: Callable[[Tensor], Tensor], images: Tensor, batch_size: int, device: torch.device
) -> Tensor:
    """Apply a function to (N, …) images batch by batch on a device; the result is on the CPU."""
    parts = [
        function(images[rows].to(device)).cpu() for rows in batch_slices(len(images), batch_size)
    ]
    return torch.cat(parts)


@torch.no_grad()
def class_count(model: Callable[[Tensor], Tensor], images: Tensor) -> int:
    """Return the number of a model's logits, by a pass of the first image.

    Args:
        model: Returns logits; on the device of the images.
        images: (N, C, H, W) float, at least one.
    """
    return model(images[:1].clone()).shape[-1]


@torch.no_grad()
def predict_logits(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    batch_size: int | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Return the (N, C) logits of images (N, C, H, W), on the CPU.

    Args:
        model: Returns logits; already on the device.
        images: What it takes; float in [0, 1] for a model by itself.
        batch_size: Images at a time; None means that of `forward_batch`.
        device: The device, by default the CPU.

    Raises:
        AdvdetectError: The logits of an image are no finite numbers.
    """
    device = device or torch.device("cpu")
    batch_size = batch_size or forward_batch(images[:1])
    logits = map_batches(model, images, batch_size, device)
    check_finite(logits)
    return logits


def to_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float32 in [0, 1]; what is float already stays as it is."""
    return images if images.is_floating_point() else images.to(torch.float32) / 255


def round_to_8_bits(images: Tensor) -> Tensor:
    """Round float images in [0, 1] to the nearest multiple of 1/255, as saving to a file would."""
    return torch.round(images * 255) / 255


def check_classes(logits: Tensor, classes: int) -> None:
    """Check that a model's (N, C) logits have one column for each of the data's classes.

    Raises:
        AdvdetectError: They do not.
    """
    if logits.shape[1] != classes:
        raise AdvdetectError(
            f"The model returns {logits.shape[1]} logits, but the data has {classes} classes: "
            f"choose a model made for this data set; where its images are of some classes only, "
            f"name a file of all in dataset.class_file."
        )


def check_finite(logits: Tensor) -> None:
    """Check that (N, C) logits are numbers.

    Raises:
        AdvdetectError: Some are not.
    """
    finite = logits.isfinite().all(1)
    if not finite.all():
        raise AdvdetectError(
            f"The model returns logits that are no finite numbers for {int((~finite).sum())} of "
            f"{len(logits)} images: its training has diverged (take a lower "
            f"model.training.learning_rate), its weights are damaged, or it divides by zero."
        )
