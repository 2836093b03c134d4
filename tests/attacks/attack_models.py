"""The classifier that the tests of the attacks share."""

import torch
from torch import nn

CLASSES = 5
COUNT = 32


def make_model(classes: int = CLASSES, seed: int = 0) -> nn.Module:
    """Return a smooth net with batch norm and dropout for (2, 6, 6) images, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 6, kernel_size=3, padding=1),
        nn.BatchNorm2d(6),
        nn.Softplus(),
        nn.Conv2d(6, 8, kernel_size=3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(32, classes),
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator)
    return model.eval()


def make_linear_model() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return a two-class linear model of (1, 4, 4) images, w_1 − w_0, and a grey image.

    The image lies at a distance of 0.3 from the boundary, on the side of class 0.
    """
    linear = nn.Linear(16, 2)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        linear.weight.normal_(generator=generator)
        difference = linear.weight[1] - linear.weight[0]
        image = torch.full((1, 1, 4, 4), 0.5)
        linear.bias.zero_()
        scores = linear(image.flatten(1))[0]
        linear.bias[0] = scores[1] - scores[0] + 0.3 * difference.norm()
    return nn.Sequential(nn.Flatten(), linear).eval(), difference, image
