"""PGD and APGD: closed forms, restarts, what is counted, what is refused."""

import math
from functools import partial

import pytest
import torch
from attack_models import COUNT, make_linear_model, make_model
from torch import Tensor, nn

from advdetect.attacks.apgd import apgd, checkpoints
from advdetect.attacks.bim import bim
from advdetect.attacks.gradient import Norm, error_log_odds
from advdetect.attacks.losses import loss_named
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.pgd import pgd
from advdetect.attacks.result import AttackResult
from advdetect.attacks.starts import random_start
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

both_norms = pytest.mark.parametrize(("norm", "epsilon"), [("l2", 0.5), ("linf", 0.05)])
both_attacks = pytest.mark.parametrize("attack", [pgd, apgd])


def streams() -> SampleGenerator:
    return SampleGenerator(7, range(COUNT))


@torch.no_grad()
def log_odds(model: nn.Module, result: AttackResult, labels: Tensor) -> Tensor:
    return error_log_odds(model(result.adversarial), labels)


@pytest.mark.parametrize("loss", ["ce", "margin"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("attack", [partial(pgd, step_size=0.2), apgd])
def test_on_a_linear_model_it_ends_where_the_ball_is_nearest_to_the_other_class(
    attack: partial, norm: Norm, loss: str
) -> None:
    model, difference, image = make_linear_model()
    result = attack(
        model.double(),
        image.double(),
        torch.tensor([0]),
        generator=SampleGenerator(0, [0]),
        epsilon=0.2,
        norm=norm,
        steps=40,
        loss=loss,
    )
    slope = difference.double().view_as(image)
    expected = slope.sign() if norm == "linf" else slope / slope.norm()
    torch.testing.assert_close(
        result.adversarial, image.double() + 0.2 * expected, rtol=0, atol=1e-6
    )


@both_norms
def test_apgd_is_at_least_as_strong_as_bim(
    norm: Norm, epsilon: float, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    given = {"epsilon": epsilon, "norm": norm, "steps": 20}
    strong = apgd(model, images, labels, generator=streams(), **given)
    plain = bim(model, images, labels, generator=streams(), **given)
    assert 0 < int(plain.success.sum()) < COUNT
    assert strong.success.sum() >= plain.success.sum()
    assert log_odds(model, strong, labels).mean() > log_odds(model, plain, labels).mean()


@both_attacks
@both_norms
def test_more_restarts_make_no_image_worse(
    attack: partial, norm: Norm, epsilon: float, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """The first run of three is the run of one: the same stream of each image."""
    given = {"epsilon": epsilon, "norm": norm, "steps": 4, "loss": "margin"}
    one = attack(model, images, labels, generator=streams(), **given)
    three = attack(model, images, labels, generator=streams(), restarts=3, **given)
    with torch.no_grad():
        gain = loss_named("margin")(model(three.adversarial), labels) - loss_named("margin")(
            model(one.adversarial), labels
        )
    assert (gain >= -1e-6).all()
    assert (gain > 1e-6).any()
    assert (three.success >= one.success).all()


@both_attacks
@pytest.mark.parametrize("loss", ["dlr", "margin"])
def test_a_loss_is_climbed_higher_by_the_attack_on_it(
    attack: partial, loss: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    given = {"epsilon": 0.5, "norm": "l2", "steps": 20}
    on_it = attack(model, images, labels, generator=streams(), loss=loss, **given)
    on_another = attack(model, images, labels, generator=streams(), loss="ce", **given)
    function = loss_named(loss)
    with torch.no_grad():
        height = function(model(on_it.adversarial), labels).mean()
        other = function(model(on_another.adversarial), labels).mean()
    assert height > other


@both_attacks
@both_norms
def test_without_a_gradient_an_image_stays_at_its_start(
    attack: partial, norm: Norm, epsilon: float, images: Tensor, labels: Tensor
) -> None:
    class Flat(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :5] * 0

    result = attack(Flat().eval(), images, labels, generator=streams(), epsilon=epsilon, norm=norm)
    start = random_start(images, epsilon, norm, streams(), surface=attack is apgd)
    torch.testing.assert_close(result.adversarial, start, rtol=0, atol=1e-6)


def test_the_passes_of_a_run(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """APGD looks at each of its points once; PGD judges what it returns once more."""
    for attack, looks in ((pgd, 8), (apgd, 7)):
        with counted_passes(model) as passes:
            attack(model, images, labels, generator=streams(), epsilon=0.1, steps=6)
        assert passes.backward == 6 * COUNT
        assert passes.forward == looks * COUNT


@pytest.mark.parametrize(("target_classes", "runs"), [(1, 1), (3, 3), (9, 4)])
def test_apgd_runs_towards_each_class(
    target_classes: int, runs: int, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """And looks at the images once more, to choose the classes."""
    given = {"epsilon": 0.1, "steps": 6, "restarts": 2, "loss": "dlr_targeted"}
    with counted_passes(model) as passes:
        result = apgd(
            model, images, labels, generator=streams(), target_classes=target_classes, **given
        )
    assert passes.backward == 6 * 2 * runs * COUNT
    assert passes.forward == (7 * 2 * runs + 1) * COUNT
    assert (result.iterations == 6 * 2 * runs).all()


def test_towards_more_classes_apgd_fools_on_more_images(images: Tensor) -> None:
    model = make_model(classes=10, seed=4)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    given = {"epsilon": 0.8, "norm": "l2", "steps": 10, "loss": "dlr_targeted"}
    one, nine = (
        apgd(model, images, labels, generator=streams(), target_classes=classes, **given).success
        for classes in (1, 9)
    )
    assert (nine >= one).all()
    assert nine.sum() > one.sum()


def test_checkpoints_are_those_of_the_paper() -> None:
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == {1}


@both_attacks
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": 0.0}, "greater than 0"),
        ({"epsilon": math.nan}, "greater than 0"),
        ({"steps": 0}, "steps of an attack must be at least 1"),
        ({"restarts": 0}, "restarts of an attack must be at least 1"),
        ({"norm": "l1"}, "l2 or linf"),
        ({"loss": "hinge"}, "ce, dlr, margin"),
    ],
)
def test_impossible_parameters_are_refused(
    attack: partial,
    parameters: dict,
    message: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        attack(model, images, labels, generator=streams(), **{"epsilon": 0.1, **parameters})


def test_apgd_aims_at_a_class_at_least(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(AdvdetectError, match="target_classes of apgd must be at least 1, not 0"):
        apgd(
            model,
            images,
            labels,
            generator=streams(),
            epsilon=0.1,
            loss="dlr_targeted",
            target_classes=0,
        )


def test_a_step_of_pgd_has_a_length(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(AdvdetectError, match="step_size"):
        pgd(model, images, labels, generator=streams(), epsilon=0.1, step_size=0.0)
