"""LeNet-5 for 28×28 images (LeCun et al. 1998), with ReLU and max pooling."""

from collections.abc import Sequence

from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.models.layers import Normalize, activation_of, classifier_head


class LeNet5(nn.Module):
    """LeNet-5: two convolutions with pooling, two hidden layers, logits; 61,706 weights.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels, at least 12.
        maps: Feature maps of the two convolutions.
        hidden: Units of the hidden layers: two as in LeNet-5, or one, ``[500]`` behind maps
            ``[20, 50]`` as in the LeNet that came with Caffe.
        dropout: Probability of dropping a hidden unit, in [0, 1); needed by the feature ``bu``.
        activation: What follows each layer but the last, a name in `layers.ACTIVATIONS`.
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        maps: Sequence[int] = (6, 16),
        hidden: Sequence[int] = (120, 84),
        dropout: float = 0.0,
        activation: str = "relu",
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
    ) -> None:
        super().__init__()
        act = activation_of(activation)
        if image_size < 12:
            raise AdvdetectError(
                f"LeNet5 needs images of at least 12×12 pixels, not {image_size}×{image_size}: "
                f"choose another model, such as small_cnn."
            )
        side = (image_size // 2 - 4) // 2
        self.features = nn.Sequential(
            Normalize(mean, std),
            nn.Conv2d(in_channels, maps[0], kernel_size=5, padding=2),
            act(),
            nn.MaxPool2d(2),
            nn.Conv2d(maps[0], maps[1], kernel_size=5),
            act(),
            nn.MaxPool2d(2),
        )
        inputs = maps[1] * side * side
        self.classifier = classifier_head(inputs, hidden, num_classes, dropout, act)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        return self.classifier(self.features(images))
