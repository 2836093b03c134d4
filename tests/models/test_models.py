import pytest
import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.models.carlini_wagner import CarliniWagnerNet
from advdetect.models.fully_connected import FullyConnected
from advdetect.models.layers import Normalize
from advdetect.models.lenet5 import LeNet5
from advdetect.models.shallow_vgg import ShallowVGG
from advdetect.models.small_cnn import SmallCNN


def test_lenet5_has_the_weights_of_the_paper():
    assert sum(p.numel() for p in LeNet5().parameters()) == 61_706


def test_the_network_of_carlini_and_wagner_has_the_layers_of_their_table():
    model = CarliniWagnerNet()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert [(m.out_channels, m.kernel_size) for m in convolutions] == [
        (32, (3, 3)),
        (32, (3, 3)),
        (64, (3, 3)),
        (64, (3, 3)),
    ]
    assert [m.out_features for m in linear] == [200, 200, 10]
    assert linear[0].in_features == 64 * 4 * 4


def test_the_shallow_vgg_has_the_first_seven_convolutions_of_vgg_16():
    model = ShallowVGG(batch_norm=False)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    maps = [convolution.out_channels for convolution in convolutions]
    assert maps == [64, 64, 128, 128, 256, 256, 256]
    # Of Simonyan & Zisserman's VGG-16, conv1-1 to conv3-3, with biases.
    assert sum(p.numel() for m in convolutions for p in m.parameters()) == 1_735_488
    assert [m.out_features for m in model.modules() if isinstance(m, nn.Linear)] == [512, 512, 10]
    normalized = ShallowVGG().modules()
    assert len([m for m in normalized if isinstance(m, nn.BatchNorm2d)]) == 7


def test_softmax_regression_is_linear():
    model = FullyConnected(hidden=(), mean=(0.0,), std=(1.0,))
    images = torch.rand(5, 1, 28, 28)
    (layer,) = (m for m in model.modules() if isinstance(m, nn.Linear))
    expected = images.flatten(1).double() @ layer.weight.double().T + layer.bias.double()
    torch.testing.assert_close(model(images).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [LeNet5, SmallCNN, CarliniWagnerNet, ShallowVGG, FullyConnected])
def test_what_follows_a_layer_is_a_setting(model):
    kinds = (nn.ReLU, nn.ELU, nn.Sigmoid, nn.Tanh)
    for name, kind in zip(("relu", "elu", "sigmoid", "tanh"), kinds, strict=True):
        found = {type(m) for m in model(activation=name).modules() if isinstance(m, kinds)}
        assert found == {kind}
    with pytest.raises(AdvdetectError, match="gelu is none of relu, elu, sigmoid, tanh"):
        model(activation="gelu")


def test_images_that_are_too_small_for_the_poolings_are_refused():
    with pytest.raises(AdvdetectError, match="halves images 3 times, which 7×7 pixels are too few"):
        ShallowVGG(image_size=7)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (LeNet5(), (2, 1, 28, 28)),
        (LeNet5(in_channels=3, image_size=32, mean=(0.5,) * 3, std=(0.2,) * 3), (2, 3, 32, 32)),
        (LeNet5(maps=(20, 50), hidden=(500, 84), num_classes=7), (2, 1, 28, 28)),
        (LeNet5(maps=(20, 50), hidden=(500,)), (2, 1, 28, 28)),
        (CarliniWagnerNet(), (2, 1, 28, 28)),
        (
            CarliniWagnerNet(
                in_channels=3, image_size=32, mean=(0.5,) * 3, std=(0.2,) * 3, hidden=(9,)
            ),
            (2, 3, 32, 32),
        ),
        (SmallCNN(), (2, 1, 8, 8)),
        (ShallowVGG(), (2, 3, 32, 32)),
        (ShallowVGG(in_channels=1, image_size=28, mean=(0.1,), std=(0.3,)), (2, 1, 28, 28)),
        (FullyConnected(hidden=(123, 456)), (2, 1, 28, 28)),
        (SmallCNN(image_size=12, num_classes=3), (2, 1, 12, 12)),
    ],
)
def test_models_return_logits(model, shape):
    logits = model(torch.rand(shape))
    assert logits.shape == (2, model.classifier[-1].out_features)
    assert not torch.allclose(logits.sum(dim=1), torch.ones(2))  # no softmax at the end


def test_normalisation_is_the_first_layer_of_the_model():
    mean, std = (0.2, 0.4), (0.5, 0.25)
    images = torch.rand(3, 2, 4, 4)
    expected = nn.functional.batch_norm(images, torch.tensor(mean), torch.tensor(std) ** 2, eps=0.0)
    torch.testing.assert_close(Normalize(mean, std)(images), expected)
    assert all(isinstance(model.features[0], Normalize) for model in (LeNet5(), SmallCNN()))
