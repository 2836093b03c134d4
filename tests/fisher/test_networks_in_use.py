"""Fisher information of the networks that people use, against its definition in float64."""

import copy
from collections.abc import Callable

import pytest
import torch
from explicit_fisher import log_probabilities, weight_forms
from torch import Tensor, nn
from torchvision import models
from torchvision.models.mobilenetv3 import InvertedResidualConfig, MobileNetV3
from torchvision.models.resnet import BasicBlock, ResNet

from advdetect.fisher.input import input_fisher_spectrum
from advdetect.fisher.leading_spectrum import leading_input_spectrum
from advdetect.fisher.weights import weight_fisher_forms
from advdetect.randomness import SampleGenerator

CLASSES = 4


def _small_vit() -> nn.Module:
    sizes = {"image_size": 32, "patch_size": 8, "hidden_dim": 16, "mlp_dim": 24}
    model = models.VisionTransformer(
        **sizes, num_layers=2, num_heads=2, num_classes=CLASSES, attention_dropout=0.1
    )
    nn.init.normal_(model.heads[-1].weight)  # zero as torchvision has it
    return model


def _small_mobilenet() -> nn.Module:
    blocks = [
        InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1),
        InvertedResidualConfig(16, 5, 24, 16, True, "HS", 1, 1, 1),
    ]
    return MobileNetV3(blocks, last_channel=16, num_classes=CLASSES)


def _small_resnet() -> nn.Module:
    model = ResNet(BasicBlock, [1, 1, 1, 1])
    model.layer3, model.layer4 = nn.Identity(), nn.Identity()
    model.fc = nn.Linear(128, CLASSES)
    return model


class HardSigmoid(nn.Module):
    """By its definition: PyTorch's gradient of it has 1/6 in float32 only, 3e-8 off."""

    def forward(self, x: Tensor) -> Tensor:
        return ((x + 3) / 6).clamp(0, 1)


def exactly(model: nn.Module) -> nn.Module:
    """Return a copy whose gradients plain autograd has to all digits of float64."""
    model = copy.deepcopy(model)
    for part in list(model.modules()):
        for name, child in part.named_children():
            if isinstance(child, nn.Hardsigmoid):
                setattr(part, name, HardSigmoid())
    return model


SMALL: dict[str, Callable[[], nn.Module]] = {
    "small MobileNet": _small_mobilenet,
    "small ResNet": _small_resnet,
    "small ViT": _small_vit,
}

WHOLE: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": lambda: models.resnet18(num_classes=CLASSES),
    "MobileNet v2": lambda: models.mobilenet_v2(num_classes=CLASSES),
    "MobileNet v3": lambda: models.mobilenet_v3_small(num_classes=CLASSES),
    "EfficientNet-B0": lambda: models.efficientnet_b0(num_classes=CLASSES),
}


def in_float64(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a network with statistics of batch norm that it would have, so that it is not flat.

    Its logits are scaled to a spread of one: where a prediction is certain to all digits, the
    definition itself has none.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().train()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = None
        with torch.no_grad():
            model(torch.rand(8, 3, 32, 32))
            spread = model.eval()(images().float()).std()
            last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
            for parameter in last.parameters():
                parameter /= spread
    return model.double()


def images() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()


def input_eigenvalues(model: nn.Module, x: Tensor) -> Tensor:
    """Return those of Σ_c p_c g_c g_cᵀ, from a matrix of the gradients of log p_c."""
    spectra = []
    for image in x:
        variable = image.clone().requires_grad_()
        log_p = log_probabilities(copy.deepcopy(model), variable)
        rows = [torch.autograd.grad(value, variable, retain_graph=True)[0] for value in log_p]
        roots = log_p.exp().sqrt()[:, None] * torch.stack(rows).flatten(1)
        spectra.append(torch.linalg.svdvals(roots.detach())[: CLASSES - 1].square())
    return torch.stack(spectra)


@pytest.mark.filterwarnings("error:.*slower")
@pytest.mark.parametrize(
    "make",
    [*SMALL.values(), *(pytest.param(make, marks=pytest.mark.long) for make in WHOLE.values())],
    ids=[*SMALL, *WHOLE],
)
def test_agrees_with_definition(make: Callable[[], nn.Module]) -> None:
    model, x = in_float64(make), images()
    streams = SampleGenerator(0, range(2))
    expected = weight_forms(exactly(model), x)
    found = weight_fisher_forms(model, x)
    torch.testing.assert_close(
        torch.stack(list(found.linear().values()), 1), expected, rtol=1e-9, atol=0
    )
    some = weight_fisher_forms(model, x, approximation="top_k", top=1, generator=streams).linear()
    for column, name in enumerate(["quadratic_form", "normalized_form"], start=1):
        torch.testing.assert_close(some[name], expected[:, column], rtol=1e-9, atol=0)
    eigenvalues = input_eigenvalues(exactly(model), x)
    torch.testing.assert_close(
        10 ** input_fisher_spectrum(model, x), eigenvalues, rtol=1e-7, atol=0
    )
    leading = leading_input_spectrum(model, x, 2, generator=streams)
    torch.testing.assert_close(10**leading, eigenvalues[:, :2], rtol=1e-7, atol=0)
