import pytest
import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.fisher_input import fisher_input
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
