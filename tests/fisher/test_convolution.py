import pytest
import torch
from torch import nn

from advdetect.fisher.convolution import FastInputGradient


@pytest.mark.parametrize(
    ("options", "replaced"),
    [
        ({"padding": (2, 1)}, True),
        ({"padding": 0, "bias": False}, True),
        ({"padding": 2}, True),
        ({"padding": 3}, False),  # wider than the kernel reaches
        ({"padding": "same"}, False),
        ({"stride": 2}, False),
        ({"dilation": 2}, False),
        ({"padding": 1, "padding_mode": "circular"}, True),
    ],
)
def test_gradient_is_that_of_autograd(options: dict, replaced: bool) -> None:
    layer = nn.Conv2d(1, 4, 3, **options).double()
    x = torch.rand(2, 1, 7, 6, dtype=torch.float64, requires_grad=True)
    expected = layer(x)
    with FastInputGradient():
        found = layer(x)
    assert ("_Flipped" in type(found.grad_fn).__name__) == replaced
    torch.testing.assert_close(found, expected)
    seed = torch.randn_like(expected)
    for before, after in zip(
        torch.autograd.grad(expected, x, seed), torch.autograd.grad(found, x, seed), strict=True
    ):
        torch.testing.assert_close(after, before)


def test_weight_that_depends_on_the_image_is_left_alone() -> None:
    x = torch.rand(1, 1, 6, 6, dtype=torch.float64, requires_grad=True)
    options = ((1, 1), (0, 0), (1, 1), 1)
    for weight, bias in ((x[:, :, :3, :3], None), (torch.ones_like(x), x[0, 0, 0, :1])):
        with FastInputGradient():
            found = torch.conv2d(x, weight, bias, *options)
        expected = torch.conv2d(x, weight, bias, *options)
        (found,) = torch.autograd.grad(found.sum(), x)
        (expected,) = torch.autograd.grad(expected.sum(), x)
        torch.testing.assert_close(found, expected)


def test_convolutions_of_several_channels_are_left_alone() -> None:
    with FastInputGradient():
        found = nn.Conv2d(3, 4, 3)(torch.rand(2, 3, 6, 6, requires_grad=True))
    assert "_Flipped" not in type(found.grad_fn).__name__
