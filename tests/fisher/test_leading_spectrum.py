import pytest
import torch
from explicit_matrices import Explicit
from fisher_models import build, images, mlp
from torch import Tensor, nn

from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.fisher import leading_spectrum
from advdetect.fisher.eigensolvers import leading_eigenpairs
from advdetect.fisher.gram_operator import GramOperator
from advdetect.fisher.input import input_fisher_spectrum
from advdetect.fisher.leading_spectrum import leading_input_spectrum, leading_weight_spectrum
from advdetect.fisher.weight_spectrum import weight_fisher_spectrum
from advdetect.randomness import SampleGenerator

#: The largest eigenvalues, and all of them by a matrix of all classes.
SPECTRA = {
    "input": (leading_input_spectrum, input_fisher_spectrum),
    "weights": (leading_weight_spectrum, weight_fisher_spectrum),
}
of_both = pytest.mark.parametrize("which", SPECTRA)


def exact(which: str, model: nn.Module, x: Tensor) -> Tensor:
    return SPECTRA[which][1](model, x)


def leading(which: str, model: nn.Module, x: Tensor, count: int) -> Tensor:
    streams = SampleGenerator(0, range(len(x)))
    return SPECTRA[which][0](model, x, count, generator=streams)


@of_both
def test_many_classes_in_120_passes_and_to_a_percent(which: str) -> None:
    model, x = mlp(60, 60, classes=400), images(1)
    expected = 10 ** exact(which, model, x)[:, :20]
    with counted_passes(model) as passes:
        found = 10 ** leading(which, model, x, 20)
    assert passes.forward + passes.backward <= 120
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)


def test_none_of_the_largest_is_missing() -> None:
    """Of eigenvalues that fall as those of photos do, from 100 first vectors."""
    expected = 10 ** (-0.6 * torch.arange(1, 201, dtype=torch.float64).sqrt())
    start = torch.randn(100, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def are_right(tolerance: float) -> Tensor:
        found = leading_eigenpairs(
            Explicit(expected.diag().expand(100, -1, -1)),
            start,
            20,
            iterations=leading_spectrum._PRODUCTS,
            tolerance=tolerance,
        )
        return ((found.value / expected[:20] - 1).abs() <= 0.01).all(dim=1)

    assert are_right(leading_spectrum._TOLERANCE).all()
    assert not are_right(0.01).all()


def test_values_are_made_anew_only_where_rounding_may_hide_them(monkeypatch) -> None:
    made, projected = [], GramOperator.projected

    def counted(operator: GramOperator, vectors: Tensor) -> Tensor:
        made.append(len(vectors))
        return projected(operator, vectors)

    monkeypatch.setattr(GramOperator, "projected", counted)
    model = mlp(60, 60, classes=400)
    leading("input", model, images(3), 20)
    assert made == []
    with torch.no_grad():
        model[-1].bias.copy_(torch.arange(0, -400, -1))
    found = leading("input", model, images(3), 20)
    assert made == [3]
    torch.testing.assert_close(found, exact("input", model, images(3))[:, :20], rtol=0, atol=5e-3)


@of_both
@pytest.mark.parametrize("name", ["in-place ReLU first", "batch norm", "transformer"])
def test_few_classes_have_all_eigenvalues(name: str, which: str) -> None:
    model, x = build(name).double(), images(5).double()
    found = leading(which, model, x, 20)
    torch.testing.assert_close(found, exact(which, model, x), rtol=0, atol=1e-7)


@of_both
def test_values_far_below_the_largest_keep_their_digits(which: str) -> None:
    model, x = mlp(40, classes=12), images(3)
    with torch.no_grad():
        model[-1].bias.copy_(torch.arange(0, -36, -3))
    expected = exact(which, model, x)
    assert (expected[:, 0] - expected[:, 9] > 8).all()  # decades
    torch.testing.assert_close(leading(which, model, x, 10), expected[:, :10], rtol=0, atol=5e-3)


@of_both
def test_a_model_that_ignores_the_image_has_finite_values(which: str) -> None:
    model = mlp(9, classes=5)
    with torch.no_grad():
        model[1].weight.zero_()
    assert torch.isfinite(leading(which, model, images(), 3)).all()


@of_both
def test_training_mode_is_refused(which: str) -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        leading(which, build("batch norm").train(), images(), 2)
