"""Feature squeezing: how much simpler images move the prediction (Xu et al. 2018)."""

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


@torch.no_grad()
def feature_squeezing(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    bits: int | None = 1,
    median: int | None = 2,
) -> dict[str, Tensor]:
    """Return the L1 distances between the predictions for an image and for its squeezed forms.

    Xu et al. 2018, section V: score(x) = ‖p(x) − p(x_squeezed)‖₁ for each squeezer, and for
    several of them together the largest. The squeezers are those of their section III but
    non-local means: fewer bits per pixel, and a median filter. p is a softmax in float64.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: Not used; the feature is deterministic.
        bits: Bits per pixel and channel of one squeezer, 1 to 8; None leaves it out. The paper's
            best: 1 for MNIST, 5 for CIFAR-10 and ImageNet.
        median: Side of the median filter's window in pixels, at least 2 and at most that of the
            image; None leaves it out. The paper's best: 2.

    Returns:
        Columns ``l1_bits`` and ``l1_median``, unless left out, and ``l1_max``, the largest of
        them: (N,) float64 in [0, 2] on the CPU.

    Raises:
        AdvdetectError: Both squeezers are left out, or one is impossible.
    """
    squeezed: dict[str, Tensor] = {}
    if bits is not None:
        squeezed["l1_bits"] = reduce_bits(images, bits)
    if median is not None:
        squeezed["l1_median"] = median_filter(images, median)
    if not squeezed:
        raise AdvdetectError(
            "The feature feature_squeezing has no squeezer: set bits or median to a number."
        )
    probabilities = model(images).double().softmax(dim=1)
    columns = {
        name: (model(form).double().softmax(dim=1) - probabilities).abs().sum(dim=1).cpu()
        for name, form in squeezed.items()
    }
    return {**columns, "l1_max": torch.stack(list(columns.values())).amax(dim=0)}


def reduce_bits(images: Tensor, bits: int) -> Tensor:
    """Round images to 2^bits even levels from 0 to 1 (Xu et al. 2018, section III-A).

    Args:
        images: (N, C, H, W) in [0, 1].
        bits: 1 to 8.

    Raises:
        AdvdetectError: The number of bits is impossible.
    """
    if not 1 <= bits <= 8:
        raise AdvdetectError(
            f"The bits of the feature feature_squeezing must be from 1 to 8, not {bits}."
        )
    steps = 2**bits - 1
    return torch.round(images * steps) / steps


def median_filter(images: Tensor, size: int) -> Tensor:
    """Replace each pixel by the median of a square window, channel by channel.

    Xu et al. 2018, section III-B, in torch so that images stay on their device; the same as
    ``scipy.ndimage.median_filter(mode="reflect")``, which the paper uses. In a window of even side
    the pixel lies to the lower right of the centre, the image is mirrored at its edges (the edge
    pixel repeated), and of the two values in the middle the larger is taken.

    Args:
        images: (N, C, H, W).
        size: Side of the window in pixels, 2 to the shorter side of the image.

    Raises:
        AdvdetectError: The window is impossible.
    """
    shorter = min(images.shape[2:])
    if not 2 <= size <= shorter:
        raise AdvdetectError(
            f"The median of the feature feature_squeezing must be from 2 to the side of the "
            f"images, {shorter}, not {size}."
        )
    before, after = size // 2, (size - 1) // 2
    for axis in (2, 3):
        start = images.narrow(axis, 0, before).flip(axis)
        end = images.narrow(axis, images.shape[axis] - after, after).flip(axis)
        images = torch.cat([start, images, end], dim=axis)
    windows = images.unfold(2, size, 1).unfold(3, size, 1).flatten(4)
    return windows.sort(dim=4).values[..., size * size // 2]
