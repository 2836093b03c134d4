"""Products with the Jacobian, against torch.autograd.functional without any replacement."""

import pytest
import torch
from fisher_models import LAYERS, STRUCTURES, build, images
from torch import Tensor, nn
from torch.nn import functional

from advdetect.fisher.tangents import FastTangents

DIFFERENTIABLE = [name for name in (*LAYERS, *STRUCTURES) if "embedding" not in name]


class WeightFromImage(nn.Module):
    """Hypernetworks: what the layers hold constant depends on the image as well."""

    def forward(self, x: Tensor) -> Tensor:
        options = (1, 1), (0, 0), (1, 1), 1
        y = functional.conv2d(x, x.mean(0, keepdim=True)[:, :, :3, :3], None, *options)
        weight = torch.ones(1, 2, 2, 2).to(x)
        y = functional.conv2d(torch.cat([y, y], 1), weight, x.sum()[None], *options)
        mean, variance = torch.zeros(1).to(x), torch.ones(1).to(x)
        return functional.batch_norm(y, mean, variance, weight=x.mean()[None]).flatten(1)[:, :4]


def products(model: nn.Module, x: Tensor, v: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    variable = x.clone().requires_grad_()
    with FastTangents():
        logits = model(variable.clone())
        cotangent = torch.zeros_like(logits, requires_grad=True)
        (gradient,) = torch.autograd.grad(logits, variable, cotangent, create_graph=True)
    (forward,) = torch.autograd.grad(gradient, cotangent, v, retain_graph=True)
    (backward,) = torch.autograd.grad(logits, variable, w)
    return forward, backward


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", [*DIFFERENTIABLE, "weight from the image"])
def test_products_are_those_with_the_jacobian(name: str) -> None:
    model = (WeightFromImage() if name == "weight from the image" else build(name)).double().eval()
    x = images(2).double()
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    w = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        forward, backward = products(model, x, v, w)
    jacobian = torch.autograd.functional.jacobian(lambda y: model(y.clone()), x)
    torch.testing.assert_close(forward, torch.einsum("ncmdij,mdij->nc", jacobian, v))
    torch.testing.assert_close(backward, torch.einsum("ncmdij,nc->mdij", jacobian, w))


def test_logits_are_the_same() -> None:
    model, x = build("batch norm"), images(5)
    with FastTangents():
        logits = model(x)
    torch.testing.assert_close(logits, model(x))


def test_batch_norm_in_training_mode_is_left_alone() -> None:
    model, x = build("batch norm").train(), images(5)
    expected = model(x)
    with FastTangents():
        assert torch.equal(model(x), expected)
