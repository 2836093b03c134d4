"""Fully connected networks, as of Szegedy et al. 2014, down to softmax regression."""

from collections.abc import Sequence

from torch import Tensor, nn

from advdetect.models.layers import Normalize, activation_of, classifier_head


class FullyConnected(nn.Module):
    """Hidden layers of any widths, logits.

    FC100-100-10 of Szegedy et al. 2014 has two of 100 sigmoid units, their FC10 has none: softmax
    regression.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels.
        hidden: Units of each hidden layer.
        activation: What follows each hidden layer, a name in `layers.ACTIVATIONS`.
        dropout: Probability of dropping a hidden unit, in [0, 1); needed by the feature ``bu``.
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        hidden: Sequence[int] = (100, 100),
        activation: str = "sigmoid",
        dropout: float = 0.0,
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
    ) -> None:
        super().__init__()
        inputs = in_channels * image_size**2
        self.features = Normalize(mean, std)
        self.classifier = classifier_head(
            inputs, hidden, num_classes, dropout, activation_of(activation)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        return self.classifier(self.features(images))
