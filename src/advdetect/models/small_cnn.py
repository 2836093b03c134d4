"""A small convolutional net for images of about 8×8 pixels."""

from collections.abc import Sequence

from torch import Tensor, nn

from advdetect.models.layers import Normalize, activation_of, classifier_head


class SmallCNN(nn.Module):
    """Two 3×3 convolutions, one pooling, one hidden layer, logits.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels, even.
        maps: Feature maps of the two convolutions.
        hidden: Units of the hidden layer.
        dropout: Probability of dropping a hidden unit, in [0, 1); needed by the feature ``bu``.
        activation: What follows each layer but the last, a name in `layers.ACTIVATIONS`.
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 8,
        maps: Sequence[int] = (16, 32),
        hidden: int = 64,
        dropout: float = 0.0,
        activation: str = "relu",
        mean: Sequence[float] = (0.3,),
        std: Sequence[float] = (0.38,),
    ) -> None:
        super().__init__()
        act = activation_of(activation)
        self.features = nn.Sequential(
            Normalize(mean, std),
            nn.Conv2d(in_channels, maps[0], kernel_size=3, padding=1),
            act(),
            nn.Conv2d(maps[0], maps[1], kernel_size=3, padding=1),
            act(),
            nn.MaxPool2d(2),
        )
        inputs = maps[1] * (image_size // 2) ** 2
        self.classifier = classifier_head(inputs, [hidden], num_classes, dropout, act)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        return self.classifier(self.features(images))
