"""The runs of the attacks by penalty: where they start, with which c, and what they cost."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from attack_models import CLASSES, COUNT
from penalty_cases import clear_margin, margins, norms, points_of, run, shown_to
from torch import Tensor, nn

from advdetect.attacks.cw_l2 import cw_l2
from advdetect.attacks.ead import ead
from advdetect.attacks.logits import rounding
from advdetect.attacks.nearest_classes import nearest_classes
from advdetect.attacks.opt import opt
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.penalty import attack_by_penalty, squared_norm
from advdetect.attacks.penalty_search import Optimizer, difference
from advdetect.attacks.record import record
from advdetect.attacks.result import AttackResult
from advdetect.lanes import State
from advdetect.randomness import SampleGenerator


@pytest.mark.parametrize(
    ("attack", "most"),
    [
        (cw_l2, 400),
        (partial(cw_l2, kappa=3.0), 600),
        (partial(opt, target=None), 400),
        (partial(ead, beta=0.01), 1000),
    ],
    ids=["cw_l2", "cw_l2_kappa", "opt", "ead"],
)
def test_passes_are_few_and_the_image_is_as_near_as_the_search_found_it(
    attack: Callable[..., AttackResult], most: int, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """At the default values; no attack loses what `nearest_classes` finds at no margin."""
    rows = slice(1, 8)
    with counted_passes(model) as passes:
        result = run(attack, model, images[rows], labels[rows])
    assert (passes.forward + passes.backward) / 7 <= most
    assert result.success.all()
    if attack is cw_l2:
        found = run(nearest_classes, model, images[rows], labels[rows])
        assert (norms(result, images[rows]) <= norms(found, images[rows]) * (1 + 1e-6)).all()


class Steep(nn.Module):
    """A boundary in one pixel, without a gradient but at the image: no search by it succeeds."""

    def forward(self, images: Tensor) -> Tensor:
        pixel = images[:, 0, 0, :1]
        return torch.cat([0 * pixel + 1, 0 * pixel], dim=1) + 0 * images.flatten(1).sum(1)[:, None]


@pytest.mark.parametrize("succeeds_at", [0.02, None])
def test_without_a_success_c_grows_tenfold_until_there_is_one(succeeds_at: float | None) -> None:
    """And the success is polished by one run; without any the search ends after its steps."""
    seen: list[float] = []

    def step(state: State) -> None:
        constant = state["constant"]
        seen.extend(constant.tolist())
        state["objective"] = torch.ones_like(constant)
        success = constant >= (torch.inf if succeeds_at is None else succeeds_at)
        record(state, state["origin"] + 0.1, success, [torch.full_like(constant, 0.1)])

    def loss(logits: Tensor, _state: State) -> tuple[Tensor, Tensor, Tensor]:
        value = torch.ones_like(logits[:, 0])
        return value, torch.zeros_like(logits), torch.zeros_like(value, dtype=torch.bool)

    ((result,),) = attack_by_penalty(
        Steep(),
        torch.full((1, 1, 2, 2), 0.5),
        torch.tensor([0]),
        loss,
        Optimizer(
            [],
            step,
            difference,
            distances=lambda change: [squared_norm(change)],
            pull=lambda change: 2 * squared_norm(change),
            excess=1.0,
            settled=50,
        ),
        generator=SampleGenerator(0, [0]),
        target=None,
        kappas=[0.0],
        search_steps=3,
        iterations=10,
    )
    # Without a gradient the first c is the largest that there is.
    values = list(dict.fromkeys(seen))
    if succeeds_at is None:
        assert values == pytest.approx([1e6, 1e7, 1e8])
        assert len(seen) == 30
        assert not result.success.any()
        assert (result.adversarial == 0.5).all()
    else:
        assert len(seen) == 11  # one that succeeds, and the run that polishes it
        assert result.success.all()
        torch.testing.assert_close(result.adversarial, torch.full((1, 1, 2, 2), 0.6))


@pytest.mark.parametrize("target", [None, "next"])
def test_a_run_of_ead_starts_where_the_search_in_its_norm_ended(
    target: str | None, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """As seen by the model: a run of 40 iterations, of two looks each, is too short to stall."""
    model, image, label = model.double(), images[1:2].double(), labels[1:2]
    with shown_to(model) as shown:
        run(partial(ead, beta=0.003, target=target, iterations=40), model, image, label)
    first, second = shown[-162], shown[-81]  # looks at the starts, which have c from them
    searched = points_of(shown[:-162])
    for start, order in ((first, 2), (second, 1)):
        assert any(torch.equal(start, point) for point in searched)
        ahead = [point for point in searched if reaches(model, point, int(label), target)]
        distances = [float((point - image).norm(p=order)) for point in ahead]
        assert float((start - image).norm(p=order)) == pytest.approx(min(distances), rel=1e-9)


def reaches(model: nn.Module, point: Tensor, label: int, target: str | None) -> bool:
    if target is None:
        return clear_margin(model, point, label, 0)
    with torch.no_grad():
        goal, hair = (label + 1) % CLASSES, rounding(model(point)).item()
    return margins(model, point, torch.tensor([goal])).item() >= hair


def test_images_that_are_there_take_no_run(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(partial(cw_l2, iterations=40), model, images, labels)
    with torch.no_grad():
        there = model(images).argmax(dim=1) != labels
    assert 0 < int(there.sum()) < COUNT
    assert (result.iterations[there] == 0).all()
    assert torch.equal(result.adversarial[there], images[there])
