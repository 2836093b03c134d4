"""The search towards the nearest classes: linear models, order of classes, accounting."""

from functools import partial

import pytest
import torch
from attack_models import CLASSES, COUNT, make_model
from linear_programs import least_of_classes
from penalty_cases import linear_classes, norms, run, shown_to
from torch import Tensor, nn

from advdetect.attacks import class_search
from advdetect.attacks.balls import BALLS, NormName
from advdetect.attacks.ddn import ddn
from advdetect.attacks.nearest_classes import nearest_classes
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

every_norm = pytest.mark.parametrize("norm", BALLS)


class RowByRow(nn.Module):
    """A classifier whose sums do not depend on the batch, to the last bit."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(12, 72, generator=random) / 3)
        self.second = nn.Parameter(torch.randn(CLASSES, 12, generator=random))

    def forward(self, images: Tensor) -> Tensor:
        hidden = (images.flatten(1)[:, None] * self.first).sum(dim=2).tanh()
        return (hidden[:, None] * self.second).sum(dim=2)


class Permuted(nn.Module):
    """A model whose classes have other numbers."""

    def __init__(self, model: nn.Module, order: Tensor) -> None:
        super().__init__()
        self.model, self.order = model, order

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)[:, self.order]


@every_norm
def test_minimal_perturbation_of_linear_classes(norm: NormName) -> None:
    """Within the box, which binds: in L1 always, in the others at this contrast on some images."""
    model, images, labels, _ = linear_classes()
    images = (2.5 * (images - 0.5) + 0.5).clamp(0, 1)
    result = run(partial(nearest_classes, norm=norm), model, images, labels)
    assert result.success.all()
    least = least_of_classes(norm, model, images, labels)
    found = BALLS[norm].length(result.adversarial - images)
    assert (found >= least * (1 - 1e-6)).all()
    torch.testing.assert_close(found, least, rtol=0.005, atol=0)


def test_crosses_a_boundary_although_the_box_takes_back_half_of_each_step() -> None:
    """Half of the pixels of a black image can only stay black."""
    linear = nn.Linear(16, 2).double()
    with torch.no_grad():
        linear.weight[0] = 0
        linear.weight[1] = torch.tensor([1.0, -1.0]).repeat(8)
        linear.bias.copy_(torch.tensor([1.0, 0.0]))
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), linear).eval()
    result = run(nearest_classes, model, image, torch.tensor([0]))
    assert result.success.all()
    torch.testing.assert_close(
        norms(result, image), torch.tensor([1 / 8**0.5]).double(), rtol=0.005, atol=0
    )


@pytest.mark.parametrize(("norm", "starts"), [("l1", 2), ("l2", 1), ("linf", 2)])
def test_result_is_that_of_each_image_alone_bit_for_bit(
    norm: NormName, starts: int, images: Tensor
) -> None:
    model = RowByRow().eval()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    attack = partial(nearest_classes, norm=norm, starts=starts, steps=30)
    whole = run(attack, model, images, labels)
    assert whole.success.all()
    for row in range(0, COUNT, 8):
        one = slice(row, row + 1)
        streams = SampleGenerator(7, range(COUNT))[one]
        alone = attack(model, images[one], labels[one], generator=streams)
        assert torch.equal(alone.adversarial, whole.adversarial[one])
        assert torch.equal(alone.iterations, whole.iterations[one])


def test_further_starts_are_on_the_sphere_of_the_first_in_other_directions() -> None:
    model, images, labels, least = linear_classes()
    firsts = []
    for starts in (1, 3):
        attack = partial(nearest_classes, candidates=2, starts=starts, steps=1)
        with shown_to(model) as shown:
            run(attack, model, images, labels)
        firsts.append(shown[1].view(len(images), 2, starts, -1) - images.view(-1, 1, 1, 36))
    alone, several = firsts
    assert torch.equal(several[:, :, :1], alone)
    lengths = several.norm(dim=3)
    torch.testing.assert_close(lengths, lengths[:, :, :1].expand_as(lengths))
    torch.testing.assert_close(lengths[:, 0, 0], 1.5 * least(0), rtol=1e-6, atol=0)
    cosine = (several @ alone.mT).squeeze(3) / lengths / lengths[:, :, :1]
    torch.testing.assert_close(cosine[:, :, 1:], torch.full((8, 2, 2), 101**-0.5).double())
    between = (several[:, :, 1] * several[:, :, 2]).sum(dim=2) / lengths[:, :, 0].square()
    assert (between.abs() < 0.6).all()


def test_numbers_of_the_classes_do_not_matter(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    order = torch.tensor([3, 0, 4, 1, 2])
    result = run(nearest_classes, model, images, labels)
    other = run(nearest_classes, Permuted(model, order), images, order.argsort()[labels])
    torch.testing.assert_close(other.adversarial, result.adversarial, rtol=0, atol=1e-9)
    assert torch.equal(other.iterations, result.iterations)


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_a_large_margin_is_nearer_by_short_steps(
    norm: NormName,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Than by those that find the boundary."""

    def distance() -> Tensor:
        found = class_search.search_classes(
            model, images, labels, [5.0], generator=SampleGenerator(0, range(COUNT)), norm=norm
        )
        return found.distance[:, 0]

    short = distance()
    monkeypatch.setattr(class_search, "_TO_MARGIN", class_search._TO_BOUNDARY)
    long = distance()
    assert short.isfinite().all()
    assert short.mean() < 0.9 * long.mean()


def test_is_nearer_than_ddn_at_fewer_passes(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with counted_passes(model) as spent:
        ours = run(nearest_classes, model, images, labels)
    with counted_passes(model) as by_peer:
        peer = run(ddn, model, images, labels)
    assert ours.success.all()
    assert peer.success.all()
    assert norms(ours, images).mean() < norms(peer, images).mean()
    assert spent.backward < 1.1 * by_peer.backward


def test_passes_are_those_of_the_iterations_and_far_classes_are_dropped(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with counted_passes(model) as passes:
        result = run(nearest_classes, model, images, labels)
    assert passes.backward == COUNT * (CLASSES - 1) + result.iterations.sum()
    assert passes.forward == COUNT + result.iterations.sum()
    there = result.iterations == 0
    assert (result.iterations[~there] >= 50).all()  # the nearest class is never dropped
    assert (result.iterations <= 150).all()
    assert (result.iterations < 150).sum() > COUNT / 2


def test_dropped_classes_would_not_have_won(
    model: nn.Module, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = model.double(), images.double()
    dropping = run(nearest_classes, model, images, labels)
    monkeypatch.setattr("advdetect.attacks.class_search._FIRST_DROP", 2.0)
    every = run(nearest_classes, model, images, labels)
    assert every.iterations.sum() > dropping.iterations.sum()
    torch.testing.assert_close(norms(dropping, images), norms(every, images), rtol=1e-3, atol=0)


@pytest.mark.parametrize("ranked", [1, 2, 4, 99, None])
def test_one_backward_pass_for_each_class_that_is_ranked(
    ranked: int | None, images: Tensor
) -> None:
    """With 40 classes; the search goes to the nearest of those of the largest logits."""
    model = make_model(classes=40).double()
    images = images.double()
    with torch.no_grad():
        logits = model(images)
    labels = logits.argmax(dim=1)
    attack = partial(nearest_classes, candidates=1, ranked=ranked, steps=20)
    with counted_passes(model) as passes:
        result = run(attack, model, images, labels)
    assert passes.backward - result.iterations.sum() == COUNT * min(ranked or 99, 39)
    assert (result.iterations == 20).all()
    if ranked == 1:
        with torch.no_grad():
            reached = model(result.adversarial).argmax(dim=1)
        assert (reached == logits.topk(2, dim=1).indices[:, 1]).sum() > COUNT / 2


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"candidates": 0}, "candidates of nearest_classes must be at least 1, not 0"),
        ({"ranked": 2}, "at least as many as its candidates, 3, or null, not 2"),
        ({"starts": 0}, "starts of nearest_classes must be at least 1, not 0"),
        ({"norm": "l0"}, "norm of nearest_classes must be one of l1, l2, linf, not 'l0'"),
        ({"steps": 0}, "steps of an attack must be at least 1, not 0"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        nearest_classes(
            model, images, labels, generator=SampleGenerator(7, range(COUNT)), **parameters
        )
