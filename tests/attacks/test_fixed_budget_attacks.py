"""What every fixed-budget attack owes, checked on all of them."""

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from attack_models import COUNT, make_model
from torch import Tensor, nn

from advdetect.attacks.apgd import apgd
from advdetect.attacks.bim import bim
from advdetect.attacks.fgm import fgm
from advdetect.attacks.fgsm import fgsm
from advdetect.attacks.masked import fgsm_probabilities
from advdetect.attacks.mi_fgsm import mi_fgsm
from advdetect.attacks.ossa import ossa
from advdetect.attacks.otcm import otcm
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.pgd import pgd
from advdetect.attacks.result import AttackResult
from advdetect.attacks.smoothed_bim import smoothed_bim
from advdetect.randomness import SampleGenerator

Attack = Callable[..., AttackResult]

# name: attack, norm of the ball, radius, steps, backward passes per step with 5 classes
ATTACKS: dict[str, tuple[Attack, float, float, int, int]] = {
    "fgsm": (partial(fgsm, epsilon=0.1), torch.inf, 0.1, 1, 1),
    "fgsm_probabilities": (partial(fgsm_probabilities, epsilon=0.1), torch.inf, 0.1, 1, 1),
    "fgm": (partial(fgm, epsilon=1.0), 2, 1.0, 1, 1),
    "otcm": (partial(otcm, epsilon=1.0), 2, 1.0, 1, 1),
    "otcm_least_likely": (partial(otcm, epsilon=1.0, target="least_likely"), 2, 1.0, 1, 1),
    "bim_l2": (partial(bim, epsilon=1.0, norm="l2", step_size=0.3), 2, 1.0, 10, 1),
    "bim_linf": (partial(bim, epsilon=0.1, norm="linf", step_size=0.03), torch.inf, 0.1, 10, 1),
    "mi_fgsm": (partial(mi_fgsm, epsilon=0.1), torch.inf, 0.1, 10, 1),
    "ossa": (partial(ossa, epsilon=1.0), 2, 1.0, 1, 4),
    "smoothed_bim_l2": (partial(smoothed_bim, epsilon=1.0, sigma=0.1, draws=3), 2, 1.0, 10, 3),
    "ossa_iterated": (partial(ossa, epsilon=1.0, steps=4, step_size=0.4), 2, 1.0, 4, 4),
    "pgd_l2": (partial(pgd, epsilon=1.0, norm="l2", steps=10), 2, 1.0, 10, 1),
    "pgd_linf": (partial(pgd, epsilon=0.1, steps=5, restarts=2), torch.inf, 0.1, 10, 1),
    "apgd_l2": (partial(apgd, epsilon=1.0, norm="l2", steps=5, restarts=2), 2, 1.0, 10, 1),
    "apgd_linf": (partial(apgd, epsilon=0.1, steps=10), torch.inf, 0.1, 10, 1),
}
RANDOM_STARTS = ("pgd_l2", "pgd_linf", "apgd_l2", "apgd_linf")
every_attack = pytest.mark.parametrize("name", ATTACKS)


class Flat(nn.Module):
    """Logits that do not depend on the image, though they are connected to it."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :5] * 0 + torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])


def run_in_batches(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    generator = SampleGenerator(7, range(COUNT))
    results = [
        attack(
            model,
            images[start : start + size],
            labels[start : start + size],
            generator=generator[start : start + size],
        )
        for start in range(0, COUNT, size)
    ]
    adversarial = torch.cat([result.adversarial for result in results])
    return adversarial, torch.cat([result.success for result in results])


@every_attack
def test_images_stay_in_the_box_and_in_the_ball(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    attack, order, radius, _, _ = ATTACKS[name]
    adversarial = attack(model, images, labels, generator=generator).adversarial
    assert adversarial.shape == images.shape
    assert adversarial.dtype == torch.float32
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    moved = torch.linalg.vector_norm((adversarial - images).double().flatten(1), order, dim=1)
    assert moved.max() <= radius * (1 + 1e-6)
    assert moved.min() > 0.1 * radius


@every_attack
def test_success_is_what_the_model_says_of_the_returned_image(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    result = ATTACKS[name][0](model, images, labels, generator=generator)
    with torch.no_grad():
        wrong = model(result.adversarial).argmax(dim=1) != labels
    assert torch.equal(result.success, wrong)
    assert 0 < int(wrong.sum()) < COUNT, "the test needs successes and failures"


@every_attack
def test_a_failed_image_keeps_its_perturbation(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    result = ATTACKS[name][0](model, images, labels, generator=generator)
    failed = ~result.success
    moved = (result.adversarial - images).flatten(1).abs().amax(dim=1)
    assert failed.any()
    assert (moved[failed] > 0.01).all()


@every_attack
def test_result_does_not_depend_on_the_batch_size(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attack = ATTACKS[name][0]
    whole, success = run_in_batches(attack, model, images, labels, COUNT)
    for size in (1, 7):
        part, part_success = run_in_batches(attack, model, images, labels, size)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-4)
        assert torch.equal(part_success, success)


@every_attack
def test_arguments_and_model_are_left_as_they_were(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    images_before, labels_before = images.clone(), labels.clone()
    state_before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    ATTACKS[name][0](model, images, labels, generator=generator)
    assert torch.equal(images, images_before)
    assert not images.requires_grad
    assert torch.equal(labels, labels_before)
    assert torch.equal(torch.get_rng_state(), random_state)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state_before[key])
    for parameter in model.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
    for module in model.modules():
        assert not module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


@every_attack
def test_it_works_where_the_caller_has_switched_gradients_off(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attack = ATTACKS[name][0]
    usual = attack(model, images, labels, generator=SampleGenerator(7, range(COUNT)))
    with torch.no_grad():
        within = attack(model, images, labels, generator=SampleGenerator(7, range(COUNT)))
        assert not torch.is_grad_enabled()
    assert torch.equal(within.adversarial, usual.adversarial)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in RANDOM_STARTS])
def test_zero_gradient_leaves_the_image(name: str, images: Tensor) -> None:
    labels = torch.full((COUNT,), 2)
    labels[0] = 1
    result = ATTACKS[name][0](
        Flat().eval(), images, labels, generator=SampleGenerator(7, range(COUNT))
    )
    assert torch.equal(result.adversarial, images)
    assert result.success.nonzero().flatten().tolist() == [0]


@every_attack
def test_black_and_white_pixels_can_change(
    name: str, model: nn.Module, generator: SampleGenerator
) -> None:
    values = torch.rand(COUNT, 2, 6, 6, generator=torch.Generator().manual_seed(3))
    images = values.round()
    with torch.no_grad():
        labels = model(images).argmax(dim=1)
    adversarial = ATTACKS[name][0](model, images, labels, generator=generator).adversarial
    assert (adversarial[images == 0] > 0.01).any()
    assert (adversarial[images == 1] < 0.99).any()


@every_attack
def test_iterations_and_targets_are_recorded_and_each_step_costs_the_same(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    attack, _, _, steps, calls = ATTACKS[name]
    with counted_passes(model) as passes:
        result = attack(model, images, labels, generator=generator)
    assert result.iterations.tolist() == [steps] * COUNT
    assert passes.backward == steps * calls * COUNT
    assert (result.target is not None) == name.startswith("otcm")


@every_attack
def test_two_classes(name: str, images: Tensor, generator: SampleGenerator) -> None:
    model = make_model(classes=2)
    with torch.no_grad():
        before = model(images)
    labels = before.argmax(dim=1)
    result = ATTACKS[name][0](model, images, labels, generator=generator)
    with torch.no_grad():
        after = model(result.adversarial)
    rows = torch.arange(COUNT)
    margin_before = before[rows, labels] - before[rows, 1 - labels]
    margin_after = after[rows, labels] - after[rows, 1 - labels]
    # The only wrong class is the other one, so every attack lowers the same margin.
    assert (margin_after < margin_before).all()
