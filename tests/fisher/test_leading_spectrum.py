import pytest
import torch
from fisher_models import build, images, mlp
from torch import Tensor, nn

from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.fisher.input import input_fisher_spectrum
from advdetect.fisher.leading_spectrum import leading_input_spectrum
from advdetect.randomness import SampleGenerator


def leading(model: nn.Module, x: Tensor, count: int) -> Tensor:
    return leading_input_spectrum(model, x, count, generator=SampleGenerator(0, range(len(x))))


def test_many_classes_in_120_passes_and_to_a_percent() -> None:
    model, x = mlp(60, 60, classes=400), images(1)
    expected = 10 ** input_fisher_spectrum(model, x)[:, :20]
    with counted_passes(model) as passes:
        found = 10 ** leading(model, x, 20)
    assert passes.forward + passes.backward <= 120
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)


@pytest.mark.parametrize("name", ["in-place ReLU first", "batch norm", "transformer"])
def test_few_classes_have_all_eigenvalues(name: str) -> None:
    model, x = build(name).double(), images(5).double()
    found = leading(model, x, 20)
    torch.testing.assert_close(found, input_fisher_spectrum(model, x), rtol=0, atol=1e-7)


def test_values_far_below_the_largest_keep_their_digits() -> None:
    model, x = mlp(40, classes=12), images(3)
    with torch.no_grad():
        model[-1].bias.copy_(torch.arange(0, -36, -3))
    expected = input_fisher_spectrum(model, x)
    assert (expected[:, 0] - expected[:, 9] > 8).all()  # decades
    torch.testing.assert_close(leading(model, x, 10), expected[:, :10], rtol=0, atol=5e-3)


def test_a_model_that_ignores_the_image_has_finite_values() -> None:
    model = mlp(9, classes=5)
    with torch.no_grad():
        model[1].weight.zero_()
    assert torch.isfinite(leading(model, images(), 3)).all()


def test_training_mode_is_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        leading(build("batch norm").train(), images(), 2)
