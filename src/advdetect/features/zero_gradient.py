"""Whether the gradient of the loss on the probabilities is exactly zero: masking, measured."""

from torch import Tensor, nn

from advdetect.attacks.masked import probability_gradient
from advdetect.randomness import SampleGenerator


def zero_gradient(
    model: nn.Module, images: Tensor, *, generator: SampleGenerator
) -> dict[str, Tensor]:
    """Return where ∇_x(−log p_y) is zero, y the predicted class and p in the digits of the image.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: Not used; the feature is deterministic.

    Returns:
        Columns, (N,) float64: ``zero_gradient``, 1 where all of it is zero and else 0, and
        ``zero_pixels``, the share of its entries that are zero.
    """
    gradient = probability_gradient(model, images, model(images).argmax(1))
    zero = gradient.flatten(1) == 0
    return {"zero_gradient": zero.all(1).double(), "zero_pixels": zero.double().mean(1)}
