from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features.fisher_weights_spectrum import fisher_weights_spectrum
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
    values = fisher_weights_spectrum(model, x, generator=SampleGenerator(0, range(5)), top_k=top_k)
    assert list(values) == [f"log10_eigenvalue_{rank:02d}" for rank in range(1, count + 1)]
    for value in values.values():
        assert value.shape == (5,)
        assert value.dtype == torch.float64
        assert value.device.type == "cpu"
    # One linear layer: that of the softmax covariance, times ‖a‖² + 1.
    p = model(x).detach().double().softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    size = x.double().flatten(1).square().sum(1) + 1
    expected = (size[:, None] * torch.linalg.eigvalsh(middle)).flip(1)[:, :count].T
    torch.testing.assert_close(
        10 ** torch.stack(list(values.values())), expected, rtol=1e-5, atol=0
    )


def test_top_k_below_one_is_refused() -> None:
    model, x = make(3)
    with pytest.raises(AdvdetectError, match="at least 1"):
        fisher_weights_spectrum(model, x, generator=SampleGenerator(0, range(5)), top_k=0)


def test_configuration_names_the_feature_and_its_default(repository: Path) -> None:
    path = repository / "config" / "feature" / "fisher_weights_spectrum.yaml"
    spec = yaml.safe_load(path.read_text())
    module, name = spec["_target_"].rsplit(".", 1)
    assert (module, name) == (fisher_weights_spectrum.__module__, fisher_weights_spectrum.__name__)
    assert spec["top_k"] == fisher_weights_spectrum.__kwdefaults__["top_k"]
