"""What every minimal-norm attack owes, checked on all of them."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from attack_models import CLASSES, COUNT, make_model
from torch import Tensor, nn

from advdetect.attacks.alma import alma
from advdetect.attacks.cw_l2 import cw_l2
from advdetect.attacks.ddn import ddn
from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.ead import ead
from advdetect.attacks.fab import fab
from advdetect.attacks.hopskipjump import hopskipjump
from advdetect.attacks.jsma import jsma
from advdetect.attacks.lbfgs import lbfgs
from advdetect.attacks.nearest_classes import nearest_classes
from advdetect.attacks.opt import opt
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator

Attack = Callable[..., AttackResult]

# Parameters with which some images succeed and some fail.
ATTACKS: dict[str, Attack] = {
    "alma": partial(alma, steps=6),
    "cw_l2": partial(cw_l2, search_steps=1, iterations=10, learning_rate=0.1),
    "cw_l2_targeted": partial(
        cw_l2, kappa=3.0, target="random", search_steps=1, iterations=20, learning_rate=0.1
    ),
    "ddn": partial(ddn, steps=3, initial_norm=0.5),
    "ddn_targeted": partial(ddn, target="random", steps=4),
    "deepfool": partial(deepfool, iterations=3),
    "ead_en": partial(ead, search_steps=2, iterations=10),
    "ead_l1_targeted": partial(
        ead, rule="l1", kappa=3.0, beta=0.01, target="random", search_steps=1, iterations=20
    ),
    "fab_l2": partial(fab, norm="l2", target_classes=2, steps=1),
    "fab_linf": partial(fab, norm="linf", target_classes=2, steps=1),
    "hopskipjump_l2": partial(hopskipjump, steps=2, evaluations=10, tries=20),
    "hopskipjump_linf": partial(hopskipjump, norm="linf", steps=2, evaluations=10, tries=20),
    "jsma": partial(jsma, gamma=0.1),
    "jsma_darkening": partial(jsma, theta=-1.0, gamma=0.1),
    "jsma_small_steps": partial(jsma, theta=0.3, gamma=0.2),
    "jsma_probabilities": partial(jsma, gamma=0.08, output="probabilities"),
    "lbfgs": partial(lbfgs, search_steps=2, iterations=10, initial_constant=0.05),
    "nearest_classes_l1": partial(
        nearest_classes, norm="l1", candidates=2, ranked=3, starts=2, steps=2
    ),
    "nearest_classes_l2": partial(nearest_classes, candidates=2, steps=2),
    "nearest_classes_linf": partial(nearest_classes, norm="linf", candidates=1, steps=2),
    "opt": partial(opt, search_steps=1, iterations=20),
    "opt_untargeted": partial(opt, target=None, search_steps=1, iterations=10),
}
BY_LABELS = ("hopskipjump_l2", "hopskipjump_linf")
UNTARGETED = (
    "alma", "cw_l2", "ddn", "deepfool", "ead_en", "fab_l2", "fab_linf", "opt_untargeted",
    "nearest_classes_l1", "nearest_classes_l2", "nearest_classes_linf", *BY_LABELS,
)  # fmt: skip
every_attack = pytest.mark.parametrize("name", ATTACKS)
# With which the others of them fail on some images, too; OPT without a target has none.
HARDER: dict[str, dict[str, float]] = {"cw_l2": {"kappa": 7.0}, "ead_en": {"kappa": 7.0}}
may_fail = pytest.mark.parametrize("name", [name for name in ATTACKS if name != "opt_untargeted"])


class Flat(nn.Module):
    """Logits that do not depend on the image, though they are connected to it."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :5] * 0 + torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])


class NotDifferentiable(nn.Module):
    """Logits whose gradient is not a number."""

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1)[:, :5] * 0).sqrt() + torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])


def run(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> AttackResult:
    return attack(model, images, labels, generator=SampleGenerator(7, range(len(images))))


def reaches_its_goal(
    model: nn.Module, result: AttackResult, images: Tensor, labels: Tensor
) -> Tensor:
    """Say what the model, fed one image at a time, thinks of the images."""
    with torch.no_grad():
        predicted = torch.cat([model(image[None]).argmax(dim=1) for image in images])
    return predicted != labels if result.target is None else predicted == result.target


@may_fail
def test_success_is_what_the_model_says_of_the_returned_image(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(partial(ATTACKS[name], **HARDER.get(name, {})), model, images, labels)
    assert 0 < int(result.success.sum()) < COUNT, "the test needs successes and failures"
    reached = reaches_its_goal(model, result, result.adversarial, labels)
    assert reached[result.success].all()
    # A failure is the clean image, which may be wrong already, but not the way that was asked for.
    assert not (reached & ~result.success).any()


@may_fail
def test_a_failed_image_comes_back_bit_for_bit(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(partial(ATTACKS[name], **HARDER.get(name, {})), model, images, labels)
    failed = ~result.success
    assert torch.equal(result.adversarial[failed], images[failed])
    assert result.iterations[failed].max() > 0


@every_attack
def test_an_image_that_is_there_already_is_a_success_without_a_change(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(ATTACKS[name], model, images, labels)
    there = reaches_its_goal(model, result, images, labels)
    assert there.any()
    assert result.success[there].all()
    assert torch.equal(result.adversarial[there], images[there])
    assert (result.iterations[there] == (name == "lbfgs")).all()  # which counts its look at it
    changed = (result.adversarial != images).flatten(1).any(dim=1)
    assert torch.equal(changed, result.success & ~there)


@every_attack
def test_images_stay_in_the_box_and_keep_their_type(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    adversarial = run(ATTACKS[name], model, images, labels).adversarial
    assert adversarial.shape == images.shape
    assert adversarial.dtype == torch.float32
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1


@every_attack
def test_result_does_not_depend_on_the_batch_size(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()
    whole = run(ATTACKS[name], model, images, labels)
    for size, count in ((1, 4), (7, 14)):
        parts = [
            ATTACKS[name](
                model,
                images[start : start + size],
                labels[start : start + size],
                generator=SampleGenerator(7, range(COUNT))[start : start + size],
            )
            for start in range(0, count, size)
        ]
        adversarial = torch.cat([part.adversarial for part in parts])
        torch.testing.assert_close(adversarial, whole.adversarial[:count], rtol=0, atol=1e-7)
        for field in ("success", "iterations"):
            joined = torch.cat([getattr(part, field) for part in parts])
            assert torch.equal(joined, getattr(whole, field)[:count])


@every_attack
def test_arguments_and_model_are_left_as_they_were(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    images_before, labels_before = images.clone(), labels.clone()
    state_before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    result = run(ATTACKS[name], model, images, labels)
    result.adversarial.zero_()
    assert torch.equal(images, images_before)
    assert not images.requires_grad
    assert not result.adversarial.requires_grad
    assert torch.equal(labels, labels_before)
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state_before[key])
    for parameter in model.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
    assert not model.training


@pytest.mark.parametrize("flat", [Flat, NotDifferentiable])
@every_attack
def test_no_usable_gradient_leaves_the_image(
    name: str, flat: Callable[[], nn.Module], images: Tensor
) -> None:
    labels = torch.full((COUNT,), 2)
    result = run(ATTACKS[name], flat().eval(), images, labels)
    assert torch.equal(result.adversarial, images)
    assert not result.success.any()
    if name.startswith(("deepfool", "jsma")):  # the others have a search for c to go through
        assert (result.iterations == 0).all()


@every_attack
def test_black_and_white_pixels_can_change(name: str, model: nn.Module, images: Tensor) -> None:
    images = images.round()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    attack = partial(ATTACKS[name], iterations=50) if name == "deepfool" else ATTACKS[name]
    result = run(attack, model, images, labels)
    change = (result.adversarial - images)[result.success]
    assert (change > 0.01).any() == (name != "jsma_darkening")
    assert (change < -0.01).any() == (not name.startswith("jsma") or name == "jsma_darkening")


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "alma"])
def test_two_classes(name: str, images: Tensor) -> None:
    model = make_model(classes=2)
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    result = run(ATTACKS[name], model, images, labels)
    assert result.success.any()
    with torch.no_grad():
        wrong = model(result.adversarial).argmax(dim=1) != labels
    assert torch.equal(wrong, result.success)


def test_only_targeted_attacks_have_a_target(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    for name, attack in ATTACKS.items():
        target = run(attack, model, images, labels).target
        assert (target is None) == (name in UNTARGETED)
        if target is not None:
            assert ((target >= 0) & (target < CLASSES) & (target != labels)).all()
