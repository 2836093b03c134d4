import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from advdetect.fisher.gram import LayerCall, layer_grams, outer_product_gram
from advdetect.fisher.per_image import per_image_gradients

shapes = st.tuples(*[st.integers(1, 6)] * 5)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def explicit_grams(module: nn.Module, calls: list[LayerCall]) -> dict[str, Tensor]:
    """Return the Gram matrices of gradients from a loop over images and seeds."""
    names, parameters = zip(*module.named_parameters(), strict=True)
    rows: list[list[Tensor]] = [[] for _ in names]
    for image in range(len(calls[0].input)):
        for seed in range(calls[0].gradients.shape[1]):
            output = sum(
                (module(call.input[image, None]) * call.gradients[image, seed]).sum()
                for call in calls
            )
            for row, gradient in zip(rows, torch.autograd.grad(output, parameters), strict=True):
                row.append(gradient.flatten())
    size = calls[0].gradients.shape[:2]
    stacked = [torch.stack(row).unflatten(0, size) for row in rows]
    return {name: row @ row.mT for name, row in zip(names, stacked, strict=True)}


@settings(max_examples=60)
@given(shapes)
def test_outer_products_in_any_order_of_summation(shape: tuple[int, ...]) -> None:
    images, seeds, outputs, inputs, positions = shape
    a, g = random(images, inputs, positions), random(images, seeds, outputs, positions)
    gradients = torch.einsum("nrot,ndt->nrod", g, a).flatten(2)
    torch.testing.assert_close(outer_product_gram(a, g), gradients @ gradients.mT)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, int]:
    groups = draw(st.sampled_from([1, 2, 3]))
    dimension = draw(st.sampled_from([1, 2]))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * dimension))
    stride = draw(st.tuples(*[st.integers(1, 3)] * dimension))
    padding = draw(st.tuples(*[st.integers(0, 3)] * dimension))
    if draw(st.booleans()):
        stride, padding = (1,) * dimension, draw(st.sampled_from(["same", "valid"]))
    layer = [nn.Conv1d, nn.Conv2d][dimension - 1](
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        kernel,
        stride=stride,
        padding=padding,
        dilation=draw(st.tuples(*[st.integers(1, 2)] * dimension)),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=draw(st.sampled_from(["zeros", "reflect", "circular", "replicate"])),
    )
    return layer.double(), dimension


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(max_examples=60)
@given(convolutions(), st.integers(5, 8), st.integers(1, 2))
def test_any_convolution_agrees_with_autograd(
    layer_and_dimension: tuple[nn.Module, int], size: int, calls: int
) -> None:
    layer, dimension = layer_and_dimension
    recorded = []
    for call in range(calls):
        inputs = random(2, layer.in_channels, *[size + call] * dimension)
        gradients = random(2, 3, *layer(inputs).shape[1:])
        recorded.append(LayerCall(inputs, gradients))
    found, expected = layer_grams(layer, recorded), explicit_grams(layer, recorded)
    assert found.keys() == expected.keys()
    for name, matrix in expected.items():
        torch.testing.assert_close(found[name], matrix)


@pytest.mark.parametrize(
    "module",
    [
        nn.PReLU(4),
        nn.GroupNorm(2, 4),
        nn.ConvTranspose2d(4, 3, 2),
        nn.InstanceNorm2d(4, affine=True),
    ],
    ids=lambda module: type(module).__name__,
)
def test_gradients_of_any_module_agree_with_autograd(module: nn.Module) -> None:
    module = module.double().eval()
    inputs = random(3, 4, 5, 5)
    gradients = random(3, 2, *module(inputs).shape[1:])
    expected = explicit_grams(module, [LayerCall(inputs, gradients)])
    rows = per_image_gradients(module, inputs, gradients)
    for name, row in rows.items():
        torch.testing.assert_close(row.flatten(2) @ row.flatten(2).mT, expected[name])
