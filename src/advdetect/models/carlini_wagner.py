"""The network for MNIST of Carlini & Wagner 2017, which MagNet (Meng & Chen 2017) defends, too."""

from collections.abc import Sequence
from itertools import chain, pairwise

from torch import Tensor, nn

from advdetect.models.layers import Normalize, activation_of, classifier_head


class CarliniWagnerNet(nn.Module):
    """Two pairs of 3×3 convolutions, each with pooling, two hidden layers, logits.

    Carlini & Wagner 2017, Table I; 312,202 weights for MNIST. Dropout follows each hidden layer.

    Args:
        num_classes: Number of logits.
        in_channels: Channels of the images.
        image_size: Height and width of the images in pixels, at least 16.
        maps: Feature maps of both convolutions of each pair.
        hidden: Units of the hidden layers.
        dropout: Probability of dropping a hidden unit, in [0, 1).
        activation: What follows each layer but the last, a name in `layers.ACTIVATIONS`.
        mean: Mean of each channel, for the normalisation.
        std: Standard deviation of each channel.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        maps: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (200, 200),
        dropout: float = 0.5,
        activation: str = "relu",
        mean: Sequence[float] = (0.1307,),
        std: Sequence[float] = (0.3081,),
    ) -> None:
        super().__init__()
        act = activation_of(activation)
        self.features = nn.Sequential(
            Normalize(mean, std),
            *chain.from_iterable(
                (
                    nn.Conv2d(before, after, kernel_size=3),
                    act(),
                    nn.Conv2d(after, after, kernel_size=3),
                    act(),
                    nn.MaxPool2d(2),
                )
                for before, after in pairwise((in_channels, *maps))
            ),
        )
        side = image_size
        for _ in maps:
            side = (side - 4) // 2
        inputs = maps[-1] * side * side
        self.classifier = classifier_head(inputs, hidden, num_classes, dropout, act)

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, num_classes) logits of (N, C, H, W) images in [0, 1]."""
        return self.classifier(self.features(images))
