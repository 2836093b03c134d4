import pytest
import torch
from torch import nn

from advdetect.models.carlini_wagner import CarliniWagnerNet
from advdetect.models.layers import Normalize
from advdetect.models.lenet5 import LeNet5
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
