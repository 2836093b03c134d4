import copy
import math

import pytest
import torch
from explicit_fisher import log_probabilities, weight_gradients
from fisher_models import CLASSES, LAYERS, STRUCTURES, build, images, linear_model, mlp
from precise_softmax import softmax_covariance_eigenvalues
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.fisher.weight_spectrum import weight_fisher_spectrum
from advdetect.fisher.weights import weight_fisher_forms


def explicit_eigenvalues(model: nn.Module, x: Tensor) -> Tensor:
    """Return all P eigenvalues of the explicit P×P matrices, descending, by float64."""
    model = copy.deepcopy(model).double().requires_grad_(True)
    spectra = []
    for image in x.double():
        rows = torch.cat(weight_gradients(model, image), dim=1)
        p = log_probabilities(model, image).exp().detach()
        spectra.append(torch.linalg.eigvalsh(rows.T @ (p[:, None] * rows)).flip(0))
    return torch.stack(spectra)


@pytest.mark.parametrize("name", ["convolution, 1 position", "batch norm", "shared convolution"])
def test_agrees_with_the_explicit_matrix_of_rank_one_less_than_the_classes(name: str) -> None:
    model, x = build(name), images(2)
    expected = explicit_eigenvalues(model, x)
    rank = CLASSES - 1
    assert (expected[:, rank:].abs() < 1e-12 * expected[:, :1]).all()
    found = weight_fisher_spectrum(model, x)
    assert found.shape == (2, rank)
    assert found.dtype == torch.float64
    torch.testing.assert_close(10**found, expected[:, :rank], rtol=1e-4, atol=0)
    double = weight_fisher_spectrum(copy.deepcopy(model).double(), x.double())
    torch.testing.assert_close(10**double, expected[:, :rank], rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", [*LAYERS, *STRUCTURES])
@pytest.mark.filterwarnings("ignore:.*slower", "ignore:Using padding='same'")
def test_sum_is_the_trace_for_every_structure(name: str) -> None:
    model, x = build(name), images()
    trace = weight_fisher_forms(model, x).linear()["trace"]
    eigenvalues = 10 ** weight_fisher_spectrum(model, x)
    torch.testing.assert_close(eigenvalues.sum(dim=1), trace, rtol=1e-5, atol=0)
    assert (eigenvalues.diff(dim=1) <= 0).all()


def test_largest_eigenvalue_bounds_the_normalised_form() -> None:
    model, x = mlp(9, classes=6).double(), images(10).double()
    top = weight_fisher_spectrum(model, x)[:, 0]
    assert (weight_fisher_forms(model, x).log10_normalized_form <= top + 1e-12).all()


def test_two_classes_have_the_trace_as_their_eigenvalue() -> None:
    model, x = mlp(9, classes=2).double(), images().double()
    found = weight_fisher_spectrum(model, x)
    torch.testing.assert_close(found[:, 0], weight_fisher_forms(model, x).log10_trace)


def test_logit_shift_and_class_order_change_nothing() -> None:
    model, x = mlp(9, classes=5).double(), images(4).double()
    shifted, permuted = copy.deepcopy(model), copy.deepcopy(model)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        shifted[-1].weight += torch.linspace(-1, 1, 9)
        permuted[-1].weight.copy_(model[-1].weight[order])
        permuted[-1].bias.copy_(model[-1].bias[order])
    for other in (shifted, permuted):
        torch.testing.assert_close(
            weight_fisher_spectrum(other, x), weight_fisher_spectrum(model, x), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("gap", [0.5, 3.0, 10.0, 40.0])
def test_single_layer_with_logits_far_apart(gap: float) -> None:
    # ∇_θ z_c·∇_θ z_d = (‖a‖² + 1) δ_cd, so the spectrum is that of the softmax covariance.
    logits = [0.0, -gap, -1.5 * gap, -1.9 * gap]
    model = linear_model(torch.zeros(4, 72), torch.tensor(logits))
    found = weight_fisher_spectrum(model, torch.full((1, 2, 6, 6), 0.5))
    exact = [float(value) for value in torch.tensor(logits)]
    expected = [v + math.log10(72 * 0.25 + 1) for v in softmax_covariance_eigenvalues(exact)]
    floor = expected[0] + 2 * math.log10(3 * torch.finfo(torch.float64).eps)
    assert found[0].tolist() == pytest.approx([max(v, floor) for v in expected], abs=1e-6)


def test_zero_gradient_gives_a_finite_floor() -> None:
    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Linear(72, 4)

        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(self.unused(x.flatten(1)))

    found = weight_fisher_spectrum(Constant().eval(), images())
    assert torch.isfinite(found).all()
    assert (found < -70).all()


def test_results_do_not_depend_on_the_batch() -> None:
    model, x = build("batch norm"), images(20)
    parts = torch.cat([weight_fisher_spectrum(model, part) for part in x.split(7)])
    torch.testing.assert_close(parts, weight_fisher_spectrum(model, x), rtol=0, atol=1e-4)


def test_training_mode_is_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        weight_fisher_spectrum(build("batch norm").train(), images())


@pytest.mark.filterwarnings("ignore:.*slower")
def test_gradient_that_is_not_finite_is_refused() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(72, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last((self.first(x.flatten(1)) * 0).sqrt())

    with pytest.raises(AdvdetectError, match="weights is not finite"):
        weight_fisher_spectrum(Root().eval(), images())
