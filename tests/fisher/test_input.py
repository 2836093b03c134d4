import copy
import math

import pytest
import torch
from explicit_fisher import input_matrix
from fisher_models import batch_norm, build, images, linear_model, mlp
from precise_softmax import softmax_covariance_eigenvalues
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.input import input_fisher_spectrum, top_eigenvector

NAMES = [
    "in-place ReLU",
    "in-place ReLU first",
    "batch norm",
    "transformer",
    "frozen",
    "shared linear",
]


@pytest.mark.parametrize("name", NAMES)
def test_spectrum_agrees_with_explicit_matrix(name: str) -> None:
    model, x = build(name), images(5)
    expected = torch.linalg.eigvalsh(input_matrix(model, x)).flip(1)[:, :3]
    torch.testing.assert_close(10 ** input_fisher_spectrum(model, x), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("classes", [2, 3, 10, 30])
def test_spectrum_for_other_numbers_of_classes(classes: int) -> None:
    model, x = mlp(40, classes=classes).double(), images(4).double()
    found = 10 ** input_fisher_spectrum(model, x)
    assert found.shape == (4, classes - 1)
    matrix = input_matrix(model, x)
    eigenvalues = torch.linalg.eigvalsh(matrix).flip(1)
    # The explicit matrix has rounding errors of the size of its largest eigenvalue.
    torch.testing.assert_close(found, eigenvalues[:, : classes - 1], rtol=1e-7, atol=1e-14)
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(found.sum(1), trace, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_top_eigenvector_is_a_unit_eigenvector(name: str) -> None:
    model, x = build(name), images(5)
    vector, log10_value = top_eigenvector(model, x)
    assert vector.shape == x.shape
    assert vector.dtype == torch.float32
    flat, matrix = vector.double().flatten(1), input_matrix(model, x)
    value = 10**log10_value
    torch.testing.assert_close(flat.norm(dim=1), torch.ones(5).double(), rtol=1e-6, atol=0)
    moved = (matrix @ flat[:, :, None]).squeeze(2)
    assert ((moved - value[:, None] * flat).norm(dim=1) < 1e-5 * value).all()
    torch.testing.assert_close(log10_value, input_fisher_spectrum(model, x)[:, 0])


def test_predicted_class_becomes_less_probable_along_the_eigenvector() -> None:
    model, x = mlp(40, classes=5).double(), images(20).double()
    vector, _ = top_eigenvector(model, x)
    before = model(x).softmax(1)
    predicted = before.argmax(1, keepdim=True)
    after = model(x + 1e-6 * vector).softmax(1)
    assert (after.gather(1, predicted) < before.gather(1, predicted)).all()


def test_kullback_leibler_divergence_is_the_quadratic_form() -> None:
    model, x = mlp(40, classes=5).double(), images(50).double()
    vector, log10_value = top_eigenvector(model, x)
    step = 1e-4
    p, moved = model(x).log_softmax(1), model(x + step * vector).log_softmax(1)
    divergence = (p.exp() * (p - moved)).sum(1)
    ratio = divergence / (0.5 * step**2 * 10**log10_value)
    assert (ratio - 1).abs().median() < 1e-2


@pytest.mark.parametrize("gap", [0.5, 40.0, 100.0, 1000.0])
def test_classes_far_apart(gap: float) -> None:
    # Orthogonal rows: the eigenvalues are s² times those of diag(p) - ppᵀ.
    s = 0.25
    logits = [0.0, -gap, -2 * gap, -3 * gap]
    model = linear_model(s * torch.eye(4, 72), torch.tensor(logits))
    spectrum = input_fisher_spectrum(model, torch.zeros(1, 2, 6, 6))[0]
    eigenvalues = softmax_covariance_eigenvalues(logits)
    expected = torch.tensor(eigenvalues, dtype=torch.float64) + 2 * math.log10(s)
    floor = expected[0] + 2 * math.log10(3 * torch.finfo(torch.float64).eps)
    torch.testing.assert_close(spectrum, expected.maximum(floor), rtol=0, atol=1e-6)


@pytest.mark.parametrize("gap", [40.0, 100.0, 500.0, 1000.0])
def test_one_hot_prediction_over_equal_classes(gap: float) -> None:
    # diag(p) - ppᵀ has the eigenvalues C·q·p_y, once, and q, C - 2 times.
    logits = torch.tensor([-gap, -gap, 0.0, -gap, -gap])
    model = linear_model(torch.eye(5, 72), logits)
    log10_q = -(gap + math.log1p(4 * math.exp(-gap))) / math.log(10)
    log10_p = -math.log1p(4 * math.exp(-gap)) / math.log(10)
    expected = torch.tensor(
        [math.log10(5) + log10_q + log10_p] + [log10_q] * 3, dtype=torch.float64
    )
    spectrum = input_fisher_spectrum(model, torch.zeros(1, 2, 6, 6))[0]
    torch.testing.assert_close(spectrum, expected, rtol=0, atol=1e-9)
    vector, _ = top_eigenvector(model, torch.zeros(1, 2, 6, 6))
    expected_vector = torch.zeros(72)
    expected_vector[:5] = torch.tensor([0.25, 0.25, -1, 0.25, 0.25]) / math.sqrt(1.25)
    torch.testing.assert_close(vector.flatten(), expected_vector, rtol=0, atol=1e-6)


def test_rank_deficient_jacobian_gives_the_floor_and_not_noise() -> None:
    model, x = mlp(60, 2, classes=8), images(4)
    # The same function with its hidden units in another order: only the rounding differs.
    reordered = copy.deepcopy(model)
    order = torch.arange(60).flip(0)
    with torch.no_grad():
        reordered[1].weight.copy_(model[1].weight[order])
        reordered[1].bias.copy_(model[1].bias[order])
        reordered[3].weight.copy_(model[3].weight[:, order])
    spectrum, other = input_fisher_spectrum(model, x), input_fisher_spectrum(reordered, x)
    torch.testing.assert_close(spectrum, other, rtol=0, atol=1e-4)
    expected = torch.linalg.eigvalsh(input_matrix(model, x)).flip(1)[:, :2]
    torch.testing.assert_close(10 ** spectrum[:, :2], expected, rtol=1e-3, atol=0)
    assert (spectrum[:, 2] < spectrum[:, 0] - 10).all()


def test_zero_jacobian_gives_zero_vector_and_finite_floor() -> None:
    model, x = linear_model(torch.zeros(3, 72)), images(2)
    vector, log10_value = top_eigenvector(model, x)
    assert torch.equal(vector, torch.zeros_like(x))
    floor = math.log10(1 / 3) - 252 * math.log10(2)  # p is uniform, and so is diag(p) - ppᵀ
    assert log10_value.tolist() == pytest.approx([floor] * 2)
    assert input_fisher_spectrum(model, x).flatten().tolist() == pytest.approx([floor] * 4)


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.detach() > 0.5).float().flatten(1)[:, :3]


def test_model_without_a_gradient_gives_zero() -> None:
    vector, log10_value = top_eigenvector(Rounded().eval(), images(2))
    assert not vector.any()
    assert torch.isfinite(log10_value).all()


def test_logit_shift_and_class_order_change_nothing() -> None:
    model, x = mlp(40, classes=5).double(), images(4).double()
    spectrum = input_fisher_spectrum(model, x)
    shifted, permuted = copy.deepcopy(model), copy.deepcopy(model)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        shifted[-1].weight += torch.linspace(-1, 1, 40)
        shifted[-1].bias += 7
        permuted[-1].weight.copy_(model[-1].weight[order])
        permuted[-1].bias.copy_(model[-1].bias[order])
    torch.testing.assert_close(input_fisher_spectrum(shifted, x), spectrum, rtol=0, atol=1e-9)
    torch.testing.assert_close(input_fisher_spectrum(permuted, x), spectrum, rtol=0, atol=1e-9)


def test_scaling_the_input_scales_the_eigenvalues() -> None:
    model, x = mlp(40, classes=5).double(), images(4).double()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[1].weight /= 3
    difference = input_fisher_spectrum(model, x) - input_fisher_spectrum(scaled, 3 * x)
    torch.testing.assert_close(difference, torch.full_like(difference, 2 * math.log10(3)))


def test_folding_batch_norm_changes_nothing() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, norm, last = nn.Linear(72, 9), batch_norm(nn.BatchNorm1d, 9), nn.Linear(9, 4)
    model = nn.Sequential(nn.Flatten(), layer, norm, nn.Tanh(), last).double().eval()
    folded_layer = torch.nn.utils.fusion.fuse_linear_bn_eval(layer, norm)
    folded = nn.Sequential(nn.Flatten(), folded_layer, nn.Tanh(), last).eval()
    x = images(4).double()
    torch.testing.assert_close(input_fisher_spectrum(model, x), input_fisher_spectrum(folded, x))


def test_results_do_not_depend_on_the_batch() -> None:
    model, x = build("batch norm"), images(64)
    together, vectors = input_fisher_spectrum(model, x), top_eigenvector(model, x)[0]
    alone = torch.cat([input_fisher_spectrum(model, x[i : i + 1]) for i in range(64)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    alone = torch.cat([top_eigenvector(model, x[i : i + 1])[0] for i in range(64)])
    torch.testing.assert_close(alone, vectors, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["in-place ReLU first", "partly frozen"])
def test_model_and_images_are_left_as_found(name: str) -> None:
    model, x = build(name), images() - 0.5
    state, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    before = x.clone()
    with torch.no_grad():
        top_eigenvector(model, x)
        input_fisher_spectrum(model, x)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m.training for m in model.modules())


def test_training_mode_is_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        input_fisher_spectrum(build("batch norm").train(), images())


class RootAtZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.detach()).sqrt().flatten(1)[:, :3]


def test_gradient_that_is_not_finite_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="gradient"):
        input_fisher_spectrum(RootAtZero().eval(), images())
