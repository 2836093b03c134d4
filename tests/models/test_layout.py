"""Which models may have the channels of their weights innermost."""

import pytest
import torch
from torch import nn

from advdetect.models.guard import guard
from advdetect.models.layout import suits_channels_last
from advdetect.models.store import build_model, read_model, write_model

IMAGES = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(0))
TARGET = "advdetect.models.small_cnn.SmallCNN"


class Net(nn.Module):
    """A convolution and a layer above, flattened in some way.

    Args:
        flatten: From (N, 4, 6, 6) to (N, 144).
    """

    def __init__(self, flatten):
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, padding=1)
        self.top = nn.Linear(144, 5)
        self.flatten = flatten

    def forward(self, images):
        return self.top(self.flatten(self.convolution(images)))


def wrong_backward(values):
    """Flatten; the gradient takes the strides of the values for its own."""

    class Flatten(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values):
            ctx.shape, ctx.strides = values.shape, values.stride()
            return values.reshape(len(values), -1)

        @staticmethod
        def backward(ctx, gradient):
            return gradient.contiguous().as_strided(ctx.shape, ctx.strides)

    return Flatten.apply(values)


def test_a_model_that_takes_any_strides_may():
    model = guard(Net(lambda values: values.flatten(1)).eval())
    assert suits_channels_last(model, IMAGES)
    assert model.convolution.weight.is_contiguous()


@pytest.mark.parametrize(
    "flatten",
    [
        lambda values: values.view(len(values), -1),
        lambda values: values.as_strided((len(values), 144), (144, 1)),  # in another order
        wrong_backward,
    ],
)
def test_a_model_that_relies_on_strides_may_not(flatten):
    assert not suits_channels_last(guard(Net(flatten).eval()), IMAGES)


def test_without_convolutions_it_makes_no_difference():
    assert suits_channels_last(nn.Sequential(nn.Flatten(), nn.Linear(108, 5)).eval(), IMAGES)


@pytest.mark.parametrize("innermost", [False, True])
def test_weights_lie_as_the_file_says(innermost, tmp_path):
    model = build_model(TARGET, {})
    path = tmp_path / "model.safetensors"
    write_model(path, model, TARGET, {}, {}, channels_last=innermost)
    read = read_model(path, {"_target_": TARGET, "arguments": {}}, torch.device("cpu"))
    strides = torch.channels_last if innermost else torch.contiguous_format
    kernels = [
        weights for weights in read.parameters() if weights.ndim == 4 and weights.shape[1] > 1
    ]
    assert kernels
    for weights in kernels:
        assert weights.is_contiguous(memory_format=strides)
        assert not weights.is_contiguous() or not innermost
    images = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(read(images), model(images))
