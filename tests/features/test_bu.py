import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.errors import AdvdetectError
from advdetect.features.bu import bu
from advdetect.models.lenet5 import LeNet5
from advdetect.randomness import SampleGenerator

COUNT = 12


def make_model(dropout: type[nn.Module] = nn.Dropout) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        dropout(0.3),
        nn.Flatten(),
        nn.Linear(144, 20),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(20, 3),
    ).eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(COUNT, 1, 6, 6, generator=torch.Generator().manual_seed(1))


def variance(model: nn.Module, images: Tensor, passes: int = 50, first: int = 0) -> Tensor:
    generator = SampleGenerator(3, range(first, first + len(images)))
    result = bu(model, images, generator=generator, passes=passes)
    assert list(result) == ["log10_variance"]
    assert result["log10_variance"].dtype == torch.float64
    return 10 ** result["log10_variance"]


def test_matches_an_explicit_loop_with_the_same_masks(images: Tensor) -> None:
    model = make_model()
    expected = []
    with torch.no_grad():
        for row in range(COUNT):
            stream = SampleGenerator(3, [row])
            probabilities = []
            # Each layer draws the numbers of its five passes when it first runs.
            first, second = stream.uniform(5, 4, 6, 6), stream.uniform(5, 20)
            for passing in range(5):
                hidden = functional.relu(model[1](model[0](images[row : row + 1])))
                hidden = hidden * (first[:, passing] >= 0.3) / 0.7
                hidden = functional.relu(model[5](hidden.flatten(1)))
                hidden = hidden * (second[:, passing] >= 0.5) / 0.5
                probabilities.append(model[8](hidden)[0].double().softmax(dim=0))
            mean = sum(probabilities, start=torch.zeros(3, dtype=torch.float64)) / 5
            expected.append(sum(float(((p - mean) ** 2).mean()) for p in probabilities) / 5)
    assert variance(model, images, passes=5).tolist() == pytest.approx(expected, rel=1e-4)


def test_one_unit_under_dropout_in_closed_form() -> None:
    """With one hidden unit a, p takes two values: σ(a / (1 − ρ)) kept and σ(0) dropped."""
    rho, count, passes = 0.3, 400, 50
    head = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0], [0.0]]))
    model = nn.Sequential(nn.Flatten(), nn.Dropout(rho), head).eval()
    images = torch.full((count, 1, 1, 1), 0.9)
    kept = 1 / (1 + math.exp(-0.9 / (1 - rho)))
    # Both classes have the same variance; dividing by T loses one part in T.
    expected = rho * (1 - rho) * (kept - 0.5) ** 2 * (passes - 1) / passes
    values = variance(model, images, passes)
    assert abs(values.mean() - expected) < 4 * values.std() / math.sqrt(count)
    assert values.std() / math.sqrt(count) < 0.02 * expected


@pytest.mark.parametrize(
    ("dropout", "shape"),
    [(nn.Dropout1d, (3, 8)), (nn.Dropout2d, (3, 2, 4)), (nn.Dropout3d, (3, 2, 2, 2))],
)
def test_channel_dropout_drops_whole_channels(
    dropout: type[nn.Module], shape: tuple[int, ...]
) -> None:
    seen: list[Tensor] = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = dropout(0.4)

        def forward(self, images: Tensor) -> Tensor:
            hidden = self.drop(images.view(-1, *shape))
            seen.append(hidden)
            return hidden.flatten(2).sum(dim=2)

    bu(Model().eval(), torch.ones(40, 24, 1, 1), generator=SampleGenerator(0, range(40)))
    channels = torch.stack(seen).flatten(3)
    assert (channels == channels[..., :1]).all()
    torch.testing.assert_close(channels.unique(), torch.tensor([0, 1 / 0.6]))
    # 50 passes of 40 images of 3 channels: 6000 coins, five standard deviations
    assert abs((channels[..., 0] == 0).double().mean() - 0.4) < 5 * math.sqrt(0.24 / 6000)


@pytest.mark.parametrize("dropout", [nn.Dropout, nn.Dropout2d])
def test_does_not_depend_on_the_batch_size(dropout: type[nn.Module], images: Tensor) -> None:
    model = make_model(dropout)
    whole = variance(model, images, passes=10)
    for size in (1, 7):
        parts = [
            variance(model, images[first : first + size], passes=10, first=first)
            for first in range(0, COUNT, size)
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=0)


def test_leaves_batch_norm_and_the_model_alone(images: Tensor) -> None:
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    with torch.no_grad():
        logits = model(images)
    variance(model, images)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    with torch.no_grad():
        assert torch.equal(model(images), logits)
    assert not any(module.training or module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_removes_its_hooks_when_the_model_fails(images: Tensor) -> None:
    model = make_model()
    with pytest.raises(RuntimeError):
        variance(model, images[:, :, :5])
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_that_drops_everything_leaves_no_variance(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(1.0), nn.Linear(36, 3)).eval()
    torch.testing.assert_close(
        variance(model, images), torch.full((COUNT,), 1e-30, dtype=torch.float64)
    )


def test_a_model_without_dropout_is_refused(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
    with pytest.raises(AdvdetectError, match="has no dropout layer: choose a model with dropout"):
        variance(model, images)
    with pytest.raises(AdvdetectError, match="LeNet5 has no dropout layer"):
        variance(LeNet5(dropout=0.0).eval(), images)


def test_alpha_dropout_is_refused(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.AlphaDropout(0.2), nn.Linear(36, 3)).eval()
    with pytest.raises(AdvdetectError, match="does not support AlphaDropout"):
        variance(model, images)
