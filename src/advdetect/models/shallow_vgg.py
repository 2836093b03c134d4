"""The shallow VGG of Zhao et al. 2019: VGG-16 (Simonyan & Zisserman 2015) without its end."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.models.layers import Normalize, activation_of, classifier_head


class ShallowVGG(nn.Module):
    """Blocks of 3×3 convolutions with pooling, two hidden layers, logits.

    VGG-16 without conv4-1 to conv5-3 (Zhao et al. 2019, section 4). The paper gives no head: two
    layers of 512 with dropout are ours.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels, at least 2 for each block.
        maps: Feature maps of the convolutions of each block.
        hidden: Units of the hidden layers.
        batch_norm: Whether batch normalisation follows each convolution.
        activation: What follows each layer but the last, a name in `layers.ACTIVATIONS`.
        dropout: Probability of dropping a hidden unit, in [0, 1).
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: int = 32,
        maps: Sequence[Sequence[int]] = ((64, 64), (128, 128), (256, 256, 256)),
        hidden: Sequence[int] = (512, 512),
        batch_norm: bool = True,
        activation: str = "relu",
        dropout: float = 0.5,
        mean: Sequence[float] = (0.4914, 0.4822, 0.4465),
        std: Sequence[float] = (0.2470, 0.2435, 0.2616),
    ) -> None:
        super().__init__()
        side = image_size // 2 ** len(maps)
        if side < 1:
            raise AdvdetectError(
                f"ShallowVGG halves images {len(maps)} times, which {image_size}×{image_size} "
                f"pixels are too few for: choose another model, such as small_cnn."
            )
        act = activation_of(activation)
        layers: list[nn.Module] = [Normalize(mean, std)]
        before = in_channels
        for block in maps:
            for inputs, outputs in pairwise((before, *block)):
                layers.append(nn.Conv2d(inputs, outputs, 3, padding=1, bias=not batch_norm))
                layers += [nn.BatchNorm2d(outputs)] if batch_norm else []
                layers.append(act())
            layers.append(nn.MaxPool2d(2))
            before = block[-1]
        self.features = nn.Sequential(*layers)
        self.classifier = classifier_head(before * side**2, hidden, num_classes, dropout, act)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        return self.classifier(self.features(images))
