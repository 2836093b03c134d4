"""The network for Fruits-360 of Mureșan & Oltean 2018."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.models.colours import HueSaturationValueGrey
from advdetect.models.layers import Normalize, activation_of, classifier_head

COLOURS = ("rgb", "hsv_grey")


class FruitsCNN(nn.Module):
    """5×5 convolutions, each with pooling, two hidden layers, logits.

    Mureșan & Oltean 2018, section 5. Poolings round up, as those of TensorFlow do which they used;
    100×100 pixels become 7×7.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels.
        maps: Feature maps of each convolution.
        hidden: Units of the hidden layers.
        colours: What the first convolution sees: ``rgb``, the normalised images, or ``hsv_grey``,
            hue, saturation, value and grey in [0, 1], as in the paper.
        activation: What follows each layer but the last, a name in `layers.ACTIVATIONS`.
        dropout: Probability of dropping a hidden unit, in [0, 1).
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel.

    Raises:
        AdvdetectError: There are no such colours, or not of these images.
    """

    def __init__(
        self,
        num_classes: int = 60,
        in_channels: int = 3,
        image_size: int = 100,
        maps: Sequence[int] = (16, 32, 64, 128),
        hidden: Sequence[int] = (1024, 256),
        colours: str = "rgb",
        activation: str = "relu",
        dropout: float = 0.2,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__()
        if colours not in COLOURS:
            raise AdvdetectError(
                f"model.arguments.colours: {colours} is none of {', '.join(COLOURS)}."
            )
        is_rgb = colours == "rgb"
        if not is_rgb and in_channels != 3:
            raise AdvdetectError(
                f"model.arguments.colours: {colours} is of images with 3 channels, and these have "
                f"{in_channels}: take rgb, which stands for the images as they are."
            )
        act = activation_of(activation)
        layers: list[nn.Module] = [Normalize(mean, std) if is_rgb else HueSaturationValueGrey()]
        side = image_size
        for before, after in pairwise((in_channels if is_rgb else 4, *maps)):
            layers += [nn.Conv2d(before, after, 5, padding=2), act()]
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            side = -(-side // 2)
        self.features = nn.Sequential(*layers)
        self.classifier = classifier_head(maps[-1] * side**2, hidden, num_classes, dropout, act)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        return self.classifier(self.features(images))
