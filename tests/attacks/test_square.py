"""Square: what it asks, where its images lie, and what belongs to an image alone."""

import itertools

import pytest
import torch
from attack_models import COUNT
from torch import Tensor, nn

from advdetect.attacks.gradient import Norm
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.result import AttackResult
from advdetect.attacks.square import side_length, square
from advdetect.attacks.windows import cut, filled, inside_window, tiles
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

RADII = {"l2": 1.0, "linf": 0.15}
each_norm = pytest.mark.parametrize("norm", RADII)


def run(
    model: nn.Module, images: Tensor, labels: Tensor, norm: Norm, rows: slice = slice(None)
) -> AttackResult:
    generator = SampleGenerator(7, range(COUNT))[rows]
    given = {"generator": generator, "epsilon": RADII[norm], "norm": norm}
    return square(model, images[rows], labels[rows], steps=60, **given)  # type: ignore[arg-type]


@each_norm
def test_images_lie_in_the_ball_and_successes_are_those_of_the_model(
    norm: Norm, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with counted_passes(model) as passes:
        result = run(model, images, labels, norm)
    assert (passes.forward, passes.backward) == (int(result.iterations.sum()), 0)
    assert result.target is None
    with torch.no_grad():
        wrong = model(result.adversarial).argmax(dim=1) != labels
    assert torch.equal(result.success, wrong)
    assert 0 < int(wrong.sum()) < COUNT, "the test needs successes and failures"
    assert (result.iterations[~wrong] == 61).all()
    assert result.iterations[wrong].min() == 1
    assert result.iterations[wrong].max() > 1
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    order = 2 if norm == "l2" else torch.inf
    change = (result.adversarial - images).double().flatten(1)
    moved = torch.linalg.vector_norm(change, order, dim=1)
    assert moved.max() <= RADII[norm] * (1 + 1e-6)
    assert moved.min() > 0.1 * RADII[norm]  # failures too


@each_norm
def test_the_margin_only_falls(
    norm: Norm, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """More squares of the same size from the same numbers cannot do worse."""
    margins = []
    for steps in (1, 20, 40):
        generator = SampleGenerator(7, range(COUNT))
        given = {"generator": generator, "epsilon": RADII[norm], "norm": norm, "p_init": 0.01}
        found = square(model, images, labels, steps=steps, **given)  # type: ignore[arg-type]
        with torch.no_grad():
            logits = model(found.adversarial)
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)
        margins.append(torch.where(found.success, -torch.inf, own - others))
    for less, more in itertools.pairwise(margins):
        assert (more <= less).all()
        assert (more < less).any()


@each_norm
def test_an_image_does_not_depend_on_its_batch(
    norm: Norm, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    whole = run(model, images, labels, norm)
    rows = slice(3, 10)
    part = run(model, images, labels, norm, rows)
    torch.testing.assert_close(part.adversarial, whole.adversarial[rows], rtol=0, atol=1e-9)
    assert torch.equal(part.iterations, whole.iterations[rows])


def test_windows_are_where_their_numbers_say() -> None:
    images = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    draws = torch.tensor([[0.0, 0.0], [0.99, 0.6]])
    places = [(0, 0), (2, 2)]  # of 3 rows the last, of 4 columns the third
    windows = cut(images, draws, 2)
    within = inside_window(draws, 2, images.shape[2:])
    changed = filled(images, -windows, draws)
    for number, (row, column) in enumerate(places):
        part = (number, slice(None), slice(row, row + 2), slice(column, column + 2))
        assert torch.equal(windows[number], images[part])
        expected = torch.zeros(4, 5, dtype=torch.bool)
        expected[part[2:]] = True
        assert torch.equal(within[number, 0], expected)
        mirrored = images[number].clone()
        mirrored[part[1:]] *= -1
        assert torch.equal(changed[number], mirrored)


def test_tiles_are_in_the_middle() -> None:
    assert tiles(28, 28, 5)[:2] == [(1, 1), (1, 6)]
    assert len(tiles(28, 28, 5)) == 25
    assert tiles(3, 2, 1) == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_side_has_room_in_the_image() -> None:
    assert side_length(0, 10, 1.0, "linf", torch.Size((1, 4, 9))) == 4
    assert side_length(0, 10, 1.0, "l2", torch.Size((1, 2, 9))) == 2


@pytest.mark.parametrize("p_init", [0, 1.5])
def test_impossible_shares_are_refused(p_init: float, generator: SampleGenerator) -> None:
    images, labels = torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(AdvdetectError, match=r"The p_init of square must be in \(0, 1\], not"):
        square(nn.Flatten(), images, labels, generator=generator, epsilon=0.1, p_init=p_init)
