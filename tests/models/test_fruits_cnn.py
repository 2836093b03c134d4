"""The network for Fruits-360, and its colours against Python's own of one pixel."""

import colorsys

import pytest
import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.models.colours import HueSaturationValueGrey
from advdetect.models.fruits_cnn import FruitsCNN

PIXELS = [
    (0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0),
    (0.25, 0.25, 0.25),
    (1.0, 0.0, 0.0),
    (1.0, 1.0, 0.0),
    (0.0, 1.0, 1.0),
    (0.9, 0.1, 0.3),  # just below red, where the hue jumps
    (0.9, 0.3, 0.1),
]


def pixels():
    drawn = torch.rand(92, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return torch.cat([torch.tensor(PIXELS, dtype=torch.float64), drawn])


def test_colours_are_those_of_python():
    values = pixels()
    found = HueSaturationValueGrey()(values.T[None, :, :, None])[0, :, :, 0].T
    expected = torch.tensor([colorsys.rgb_to_hsv(*row) for row in values.tolist()])
    torch.testing.assert_close(found[:, :3], expected.double())
    brightness = [colorsys.rgb_to_yiq(*row)[0] for row in values.tolist()]
    torch.testing.assert_close(found[:, 3], torch.tensor(brightness).double(), rtol=0, atol=0.011)


def test_colours_have_the_gradient_of_their_differences_and_none_that_is_no_number():
    layer, values = HueSaturationValueGrey(), pixels()[len(PIXELS) :].T.reshape(1, 3, 92, 1)
    assert torch.autograd.gradcheck(layer, values.clone().requires_grad_())
    grey = torch.tensor(PIXELS[:3]).T.reshape(1, 3, 3, 1).requires_grad_()
    hue = layer(grey)[:, 0]
    (gradient,) = torch.autograd.grad(hue.sum(), grey, retain_graph=True)
    assert not gradient.any()
    (gradient,) = torch.autograd.grad(layer(grey).sum(), grey)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("colours", "channels"), [("rgb", 3), ("hsv_grey", 4)])
def test_the_fruits_network_has_the_layers_of_the_paper(colours, channels):
    with torch.device("meta"):
        model = FruitsCNN(colours=colours)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.kernel_size) for m in convolutions] == [
        (channels, 16, (5, 5)),
        (16, 32, (5, 5)),
        (32, 64, (5, 5)),
        (64, 128, (5, 5)),
    ]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in linear] == [1024, 256, 60]
    assert linear[0].in_features == 7 * 7 * 128


@pytest.mark.parametrize("colours", ["rgb", "hsv_grey"])
def test_the_fruits_network_returns_logits_of_other_sizes_too(colours):
    model = FruitsCNN(num_classes=5, image_size=9, maps=(2, 3), hidden=(4,), colours=colours)
    assert model(torch.rand(2, 3, 9, 9)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"colours": "lab"}, "model.arguments.colours: lab is none of rgb, hsv_grey."),
        (
            {"colours": "hsv_grey", "in_channels": 1},
            "hsv_grey is of images with 3 channels, and these have 1",
        ),
    ],
)
def test_colours_that_there_are_not_are_refused(arguments, said):
    with pytest.raises(AdvdetectError, match=said):
        FruitsCNN(**arguments)
