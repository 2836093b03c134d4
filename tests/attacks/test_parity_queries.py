"""Square is that of torchattacks, HopSkipJump that of foolbox, from the same random numbers.

The peer's squares are at one place in all images, and never in the last row or column; its L2 step
shares the radius over all channels together, the paper's by channel: it is compared with one. The
peer of HopSkipJump has one length for the normals of a batch: it is compared image by image.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from attack_models import make_linear_model
from torch import Tensor, nn

from advdetect.attacks.gradient import Norm
from advdetect.attacks.hopskipjump import estimated_normal, hopskipjump
from advdetect.attacks.square import side_length, square
from advdetect.attacks.windows import bump
from advdetect.randomness import SampleGenerator

STEPS, SIDE = 60, 6


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def float64(model: nn.Module, images: Tensor, labels: Tensor) -> Iterator[None]:
    """Make the peer's own tensors float64, after those of the test."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class Drawn:
    """Streams that hold what the peer draws, call by call, for all images."""

    def __init__(self, numbers: list[Tensor], rows: Any = slice(None)) -> None:
        self._numbers, self._rows = numbers, rows

    def __getitem__(self, rows: Tensor) -> "Drawn":
        return Drawn(self._numbers, rows)

    def uniform(self, *_shape: int) -> Tensor:
        return self._numbers.pop(0)[self._rows]


def peer_of(model: nn.Module, images: Tensor, norm: str, epsilon: float) -> Any:
    name = {"l2": "L2", "linf": "Linf"}[norm]
    torchattacks = pytest.importorskip("torchattacks", reason="needs its extra")
    peer = torchattacks.Square(model, norm=name, eps=epsilon, n_queries=STEPS, p_init=0.8)
    peer.init_hyperparam(images)
    return peer


def place(side: int) -> float:
    """Draw a place as the peer does; return the number that leads to it here."""
    room = SIDE - side
    return (math.floor(float(torch.rand([1])) * room) + 0.5) / (room + 1)


def block(count: int, numbers: Sequence[Sequence[float] | Tensor]) -> Tensor:
    """Return the numbers of all steps, for each of so many images, in the order of the calls."""
    rows = torch.stack([torch.as_tensor(row, dtype=torch.float64) for row in numbers])
    return rows.expand(count, *rows.shape)


@pytest.mark.usefixtures("float64")
def test_square_is_that_of_torchattacks_in_linf(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    peer = peer_of(model, images, "linf", 0.15)
    torch.manual_seed(5)
    start = torch.rand(len(images), 2, 1, SIDE)
    numbers = []
    for step in range(64):
        side = side_length(min(step, STEPS - 1), STEPS, 0.8, "linf", images.shape[1:])
        numbers.append([place(side), place(side), *torch.rand(2, 1, 1).flatten().tolist()])
    generator: Any = Drawn([start, block(len(images), numbers)])
    result = square(model, images, labels, generator=generator, epsilon=0.15, steps=STEPS)

    torch.manual_seed(5)
    queries, expected = peer.attack_single_run(images, labels)
    torch.testing.assert_close(result.adversarial, expected, rtol=0, atol=1e-12)
    assert torch.equal(result.iterations, queries.long())
    assert 0 < int(result.success.sum()) < len(images)


@pytest.mark.usefixtures("float64")
def test_square_is_that_of_torchattacks_in_l2(images: Tensor) -> None:
    images = images[:3, :1].double()
    linear = nn.Linear(SIDE**2, 4)
    nn.init.normal_(linear.weight, generator=torch.Generator().manual_seed(2))
    model = nn.Sequential(nn.Flatten(), linear).eval()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    peer = peer_of(model, images, "l2", 0.9)
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        torch.manual_seed(5)
        tiling = torch.tensor([[float(torch.rand([1])), float(torch.rand(1))] for _ in range(36)])
        numbers = []
        for step in range(64):
            side = side_length(min(step, STEPS - 1), STEPS, 0.8, "l2", image.shape[1:])
            numbers.append([place(side) for _ in range(4)] + torch.rand(2).tolist())
        generator: Any = Drawn([tiling[None], block(1, numbers)])
        given: Any = {"generator": generator, "epsilon": 0.9, "norm": "l2", "steps": STEPS}
        result = square(model, image, label, **given)

        torch.manual_seed(5)
        queries, expected = peer.attack_single_run(image, label)
        torch.testing.assert_close(result.adversarial, expected, rtol=0, atol=1e-6)
        assert torch.equal(result.iterations, queries.long())


def test_squares_have_the_sizes_and_bumps_of_torchattacks(model: nn.Module, images: Tensor) -> None:
    peer = peer_of(model, images, "l2", 0.9)
    shape = torch.Size((1, 28, 28))
    for peer.n_queries in (100, 5000):
        for step in range(0, peer.n_queries, 7):
            share = peer.p_selection(step)
            found = side_length(step, peer.n_queries, 0.8, "linf", shape)
            assert found == max(round(math.sqrt(share * 784)), 1)
    for side in (3, 5, 25):
        expected = peer.eta(side)
        found = bump(side).to(expected)
        assert min((expected - found).abs().max(), (expected - found.T).abs().max()) < 1e-6


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_the_normal_is_that_of_foolbox(
    norm: Norm, model: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    hop_skip_jump = pytest.importorskip("foolbox.attacks.hop_skip_jump", reason="needs its extra")
    import eagerpy

    raw = torch.rand(40, 1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) * 2 - 1
    kind = {"l2": "normal", "linf": "uniform"}[norm]
    monkeypatch.setattr(
        hop_skip_jump.ep, kind, lambda *_args, **_kwargs: eagerpy.astensor(raw.clone())
    )
    point, radius = images[:1], torch.tensor([0.3])
    with torch.no_grad():
        level = float(model(point)[0, 0])

    def fools(shown: Tensor) -> Tensor:
        with torch.no_grad():
            return model(shown)[:, 0] > level

    peer = hop_skip_jump.HopSkipJumpAttack(constraint=norm)
    expected = peer.approximate_gradients(
        lambda shown: eagerpy.astensor(fools(shown.raw)),
        eagerpy.astensor(point),
        40,
        eagerpy.astensor(radius),
    ).raw
    unit = (raw / raw.flatten(2).norm(dim=2).view(40, 1, 1, 1, 1)).transpose(0, 1)
    left = list(unit.split(16, dim=1))
    found = estimated_normal(fools, point, radius, lambda _: left.pop(0), 40)
    torch.testing.assert_close(found / found.norm(), expected, rtol=0, atol=1e-5)


def test_hopskipjump_is_as_near_as_that_of_foolbox_at_equal_queries() -> None:
    """On a linear model, where both start in the one other class: no choice of minima."""
    foolbox = pytest.importorskip("foolbox", reason="needs its extra")
    linear, _, image = make_linear_model()
    images, labels = image.repeat(6, 1, 1, 1), torch.zeros(6, dtype=torch.int64)
    generator = SampleGenerator(7, range(6))
    given: Any = {"generator": generator, "steps": 8, "evaluations": 40}
    ours = (
        (hopskipjump(linear, images, labels, **given).adversarial - images).flatten(1).norm(dim=1)
    )

    torch.manual_seed(1)
    noise = torch.rand(100, 1, 4, 4)
    with torch.no_grad():
        starts = noise[linear(noise).argmax(dim=1) == 1][:6]
    peer = foolbox.attacks.HopSkipJumpAttack(steps=8, initial_gradient_eval_steps=40)
    wrapped = foolbox.PyTorchModel(linear, bounds=(0, 1), device="cpu")
    misclassified = foolbox.criteria.Misclassification(labels[:1])
    theirs = [
        (peer.run(wrapped, image, misclassified, starting_points=start[None]) - image).norm()
        for start in starts
    ]
    expected = torch.stack(theirs)
    assert ours.mean() == pytest.approx(float(expected.mean()), rel=0.05)
    assert (expected > 0.3).all()
