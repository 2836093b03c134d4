import pytest
import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.fisher_input import fisher_input
from advdetect.many_classes import choices
from advdetect.randomness import SampleGenerator


def make(classes: int) -> tuple[nn.Module, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(48, classes)).eval()
        return model, torch.rand(5, 3, 4, 4)


@pytest.mark.parametrize(
    ("classes", "top_k", "count"), [(2, 20, 1), (10, 20, 9), (10, 3, 3), (30, 20, 20)]
)
def test_columns_and_values(classes: int, top_k: int, count: int) -> None:
    model, x = make(classes)
    values = fisher_input(model, x, generator=SampleGenerator(0, range(5)), top_k=top_k)
    assert list(values) == [f"log10_eigenvalue_{rank:02d}" for rank in range(1, count + 1)]
    for value in values.values():
        assert value.shape == (5,)
        assert value.dtype == torch.float64
        assert value.device.type == "cpu"
    p, weight = model(x).detach().double().softmax(1), model[1].weight.detach().double()
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.linalg.eigvalsh(weight.T @ middle @ weight).flip(1)[:, :count].T
    torch.testing.assert_close(
        10 ** torch.stack(list(values.values())), expected, rtol=1e-5, atol=0
    )


def test_top_k_below_one_is_refused() -> None:
    model, x = make(3)
    with pytest.raises(AdvdetectError, match="at least 1"):
        fisher_input(model, x, generator=SampleGenerator(0, range(5)), top_k=0)


def test_many_classes_are_found_by_lanczos_which_is_said() -> None:
    model, x = make(130)
    streams = SampleGenerator(0, range(5))
    exact = fisher_input(model, x, generator=streams, method="exact")
    with choices("feature fisher_input") as chosen:
        found = fisher_input(model, x, generator=streams)
    assert chosen == {"number_of_classes": 130, "method": "lanczos"}
    assert list(found) == list(exact)
    for name, value in found.items():
        assert not torch.equal(value, exact[name])
        torch.testing.assert_close(10**value, 10 ** exact[name], rtol=0.01, atol=0)


def test_few_classes_are_exact() -> None:
    model, x = make(120)
    streams = SampleGenerator(0, range(5))
    exact = fisher_input(model, x, generator=streams, method="exact")
    for name, value in fisher_input(model, x, generator=streams).items():
        assert torch.equal(value, exact[name])


def test_unknown_method_is_refused() -> None:
    model, x = make(3)
    with pytest.raises(AdvdetectError, match="auto, exact, lanczos"):
        fisher_input(model, x, generator=SampleGenerator(0, range(5)), method="power")
