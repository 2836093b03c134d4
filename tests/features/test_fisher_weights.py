import pytest
import torch
from torch import Tensor, nn

from advdetect.features.fisher_weights import fisher_weights
from advdetect.randomness import SampleGenerator

COLUMNS = ["log10_trace", "log10_quadratic_form", "log10_normalized_form"]


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).eval()


def test_columns_and_values(model: nn.Module) -> None:
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    values = fisher_weights(model, x, generator=SampleGenerator(0, range(5)))
    assert list(values) == COLUMNS
    for value in values.values():
        assert value.shape == (5,)
        assert value.dtype == torch.float64
        assert value.device.type == "cpu"
    # One linear layer: the trace is (‖a‖² + 1)(1 - Σp²).
    p = model(x).detach().double().softmax(1)
    expected = (x.double().flatten(1).square().sum(1) + 1) * (1 - p.square().sum(1))
    torch.testing.assert_close(10 ** values["log10_trace"], expected, rtol=1e-5, atol=0)


def test_options_reach_the_computation(model: nn.Module) -> None:
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    generator = SampleGenerator(0, range(5))
    two = fisher_weights(model, x, generator=generator, classes="two")
    torch.testing.assert_close(two["log10_trace"], two["log10_normalized_form"])
    one = fisher_weights(model, x, generator=generator)
    tenth = fisher_weights(model, x, generator=generator, learning_rate=0.1)
    torch.testing.assert_close(
        one["log10_quadratic_form"] - tenth["log10_quadratic_form"], torch.full((5,), 2.0).double()
    )
    blocks = fisher_weights(model, x, generator=generator, block="tensor")
    assert (blocks["log10_quadratic_form"] < one["log10_quadratic_form"]).all()
    differences = fisher_weights(
        model, x, generator=generator, derivative="finite_difference", step=1e-2
    )
    error = (differences["log10_normalized_form"] - one["log10_normalized_form"]).abs()
    assert ((error > 1e-6) & (error < 0.1)).all()


def test_approximation_draws_from_the_streams_of_the_images() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 40)).eval()
    x = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))

    def run(seed: int) -> dict[str, Tensor]:
        return fisher_weights(
            model,
            x,
            generator=SampleGenerator(seed, range(5)),
            approximation="top_k",
            top=30,
            tail_samples=4,
        )

    exact, first, again, other = (
        fisher_weights(model, x, generator=SampleGenerator(0, range(5)), approximation="none"),
        *(run(seed) for seed in (0, 0, 1)),
    )
    assert torch.equal(first["log10_trace"], again["log10_trace"])
    assert not torch.equal(first["log10_trace"], other["log10_trace"])
    torch.testing.assert_close(first["log10_trace"], exact["log10_trace"], rtol=0, atol=0.1)
    for name in COLUMNS[1:]:
        torch.testing.assert_close(first[name], exact[name], rtol=0, atol=1e-4)
