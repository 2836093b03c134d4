"""Muon against singular value decompositions and PyTorch's own optimizers."""

import pytest
import torch
from torch import nn

from advdetect.training.muon import Muon, orthogonal_factor


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5, 5), (4, 30), (30, 4), (1, 7)])
def test_factor_is_that_of_the_singular_value_decomposition(shape):
    """The iteration is a polynomial of the singular values alone, by whichever side it is done."""
    matrix = random(*shape)
    left, singular, right = torch.linalg.svd(matrix, full_matrices=False)
    values = singular / singular.square().sum().sqrt()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = orthogonal_factor(matrix)
    torch.testing.assert_close(found, left @ values.diag() @ right)
    assert 0.68 < values.min() <= values.max() < 1.21


def test_factor_of_zero_is_zero():
    assert orthogonal_factor(torch.zeros(3, 4)).equal(torch.zeros(3, 4))


def stepped(optimizer, weights, gradients):
    for gradient in gradients:
        weights.grad = gradient.clone()
        optimizer.step()
    return weights.detach()


@pytest.mark.parametrize("shape", [(16, 40), (40, 16)])
def test_matrices_take_the_steps_of_pytorchs_muon(shape):
    """Which is computed in bfloat16, of 8 bits."""
    theirs = getattr(torch.optim, "Muon", None)
    if theirs is None:
        pytest.skip("this PyTorch has no Muon")
    settings = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3}
    start, gradients = random(*shape).float(), random(3, *shape, seed=1).float()
    pairs = [nn.Parameter(start.clone()) for _ in range(2)]
    expected = stepped(
        theirs([pairs[0]], adjust_lr_fn="match_rms_adamw", **settings), pairs[0], gradients
    )
    found = stepped(Muon([pairs[1]], **settings), pairs[1], gradients)
    distance = torch.linalg.matrix_norm(found - expected)
    assert distance < 0.02 * torch.linalg.matrix_norm(expected - start)


@pytest.mark.parametrize("strides", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_is_a_matrix_with_a_row_for_each_output(strides):
    settings = {"lr": 0.1, "momentum": 0.8, "weight_decay": 0.3}
    for outputs in (4, 50):
        start, gradients = random(outputs, 3, 2, 2), random(3, outputs, 3, 2, 2, seed=1)
        flat, kernel = nn.Parameter(start.flatten(1)), nn.Parameter(start.to(memory_format=strides))
        expected = stepped(Muon([flat], **settings), flat, gradients.flatten(2))
        found = stepped(Muon([kernel], **settings), kernel, gradients)
        torch.testing.assert_close(found.flatten(1), expected)


def test_biases_take_the_steps_of_adamw_without_decay():
    start, gradients = random(9).float(), random(4, 9, seed=1).float()
    pairs = [nn.Parameter(start.clone()) for _ in range(2)]
    expected = stepped(torch.optim.AdamW([pairs[0]], lr=0.1, weight_decay=0.0), pairs[0], gradients)
    optimizer = Muon([pairs[1]], lr=0.1, momentum=0.8, weight_decay=0.3)
    torch.testing.assert_close(stepped(optimizer, pairs[1], gradients), expected)


def test_weights_without_gradient_stay():
    """Those of frozen layers, and of layers that a batch did not use."""
    weights = [nn.Parameter(random(3, 3)), nn.Parameter(random(3))]
    optimizer = Muon(weights, lr=0.1, momentum=0.8, weight_decay=0.3)
    optimizer.step()
    assert weights[0].equal(random(3, 3))
    assert weights[1].equal(random(3))
