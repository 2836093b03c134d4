import torch
from torch import nn

from advdetect.features.zero_gradient import zero_gradient
from advdetect.randomness import SampleGenerator


def test_it_counts_what_is_exactly_zero():
    """A linear model: the logits of an image are 110 apart; one pixel is unused."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[110.0, 0.0, 0.0, 3.0], [0.0, 2.0, 0.0, 1.0]]))
    images = torch.zeros(3, 1, 2, 2)
    images[0, 0, 0, 0] = 1
    images[1, 0, 1, 1] = 0.5
    images[2, 0, 0, 1] = 1
    found = zero_gradient(model, images, generator=SampleGenerator(0, range(3)))
    assert {name: column.tolist() for name, column in found.items()} == {
        "zero_gradient": [1, 0, 0],
        "zero_pixels": [1, 0.25, 0.25],
    }
    assert all(column.dtype == torch.float64 for column in found.values())
    alone = zero_gradient(model, images[1:2], generator=SampleGenerator(0, [1]))
    assert alone["zero_pixels"].tolist() == [0.25]
