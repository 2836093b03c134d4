"""AutoAttack: each attack on what is left, a union of ours, and as strong as torchattacks'."""

from functools import partial
from typing import Any

import pytest
import torch
from attack_models import COUNT
from torch import Tensor, nn

from advdetect.attacks.apgd import apgd
from advdetect.attacks.autoattack import autoattack, first_success
from advdetect.attacks.gradient import Norm
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator

RADII = {"l2": 1.0, "linf": 0.2}
each_norm = pytest.mark.parametrize("norm", RADII)
attack = partial(autoattack, steps=20, target_classes=2, squares=20)


def run(model: nn.Module, images: Tensor, labels: Tensor, norm: Norm) -> AttackResult:
    generator = SampleGenerator(7, range(len(images)))
    return attack(model, images, labels, generator=generator, epsilon=RADII[norm], norm=norm)


def test_each_attack_gets_what_is_left() -> None:
    """Attack k fools the images of value k, and draws a number for each image that it gets."""
    seen: list[list[float]] = []

    def stub(
        value: float, _model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
    ) -> AttackResult:
        pixels = images.flatten()
        seen.append(pixels.tolist())
        assert len(generator.uniform(1)) == len(images)
        return AttackResult(images + value, pixels == value, None, torch.full_like(labels, 2))

    images = torch.tensor([1.0, 0.5, 0.25, 0.5]).view(4, 1, 1, 1)
    attacks: list[Any] = [partial(stub, value) for value in (0.5, 1.0, 0.125, 0.25, 0.75)]
    labels, generator = torch.zeros(4, dtype=torch.int64), SampleGenerator(7, range(4))
    result = first_success(attacks, nn.Identity(), images, labels, generator)
    assert seen == [[1.0, 0.5, 0.25, 0.5], [1.0, 0.25], [0.25], [0.25]]  # and then none
    assert result.adversarial.flatten().tolist() == [2.0, 1.0, 0.5, 1.0]
    assert result.success.all()
    assert result.iterations.tolist() == [4, 2, 8, 2]
    failed = first_success(attacks[:1], nn.Identity(), images, labels, SampleGenerator(7, range(4)))
    assert failed.success.tolist() == [False, True, False, True]
    assert failed.adversarial.flatten().tolist() == [1.5, 1.0, 0.75, 1.0]


@each_norm
def test_it_fools_where_torchattacks_does(
    norm: Norm, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """But for one image of 32 at most, since both draw their starts and squares."""
    torchattacks = pytest.importorskip("torchattacks", reason="needs its extra")
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    result = run(model, images, labels, norm)
    name = {"l2": "L2", "linf": "Linf"}[norm]
    with torch.random.fork_rng(devices=[]):
        peer = torchattacks.AutoAttack(model, name, RADII[norm], n_classes=3, seed=0)  # 2 targets
        *others, square = peer._autoattack.attacks
        for other in others:
            other.steps = 20
        square.n_queries = 20
        expected = peer(images, labels)
    with torch.no_grad():
        fooled = model(expected).argmax(dim=1) != labels
        wrong = model(result.adversarial).argmax(dim=1) != labels
    assert 0 < int(fooled.sum()) < COUNT, "the test needs successes and failures"
    assert int((result.success != fooled).sum()) <= 1
    assert torch.equal(result.success, wrong)


@each_norm
def test_it_is_a_union_in_the_ball(
    norm: Norm, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    images, labels = images[:12], labels[:12]
    result = run(model, images, labels, norm)
    given = {"generator": SampleGenerator(7, range(12)), "epsilon": RADII[norm], "norm": norm}
    first = apgd(model, images, labels, steps=20, **given)  # type: ignore[arg-type]
    assert first.success.any()
    assert torch.equal(result.adversarial[first.success], first.adversarial[first.success])
    assert (result.iterations[first.success] == 20).all()
    # APGD, then APGD and FAB-T towards two classes, Square with its first point.
    assert not result.success.all()
    assert (result.iterations[~result.success] == 20 + 2 * 2 * 20 + 21).all()
    order = 2 if norm == "l2" else torch.inf
    moved = (result.adversarial - images).double().flatten(1)
    assert torch.linalg.vector_norm(moved, order, dim=1).max() <= RADII[norm] * (1 + 1e-6)
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1


def test_an_image_does_not_depend_on_its_batch(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    quick = partial(autoattack, epsilon=0.15, steps=5, target_classes=2, squares=20)
    whole = quick(model, images, labels, generator=SampleGenerator(7, range(COUNT)))
    rows = slice(3, 10)
    part = quick(
        model, images[rows], labels[rows], generator=SampleGenerator(7, range(COUNT))[rows]
    )
    assert len(part.iterations.unique()) > 1
    torch.testing.assert_close(part.adversarial, whole.adversarial[rows], rtol=0, atol=1e-9)
    assert torch.equal(part.iterations, whole.iterations[rows])
