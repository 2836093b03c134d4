"""Counting at the model: as a model that counts itself, and without a trace."""

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
from attack_models import COUNT
from torch import Tensor, nn

from advdetect.attacks.alma import alma
from advdetect.attacks.apgd import apgd
from advdetect.attacks.autoattack import autoattack
from advdetect.attacks.bim import bim
from advdetect.attacks.cw_l2 import cw_l2, cw_l2_sweep
from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.ead import ead
from advdetect.attacks.fab import fab
from advdetect.attacks.fgsm import fgsm
from advdetect.attacks.gaussian_noise import gaussian_noise
from advdetect.attacks.hopskipjump import hopskipjump
from advdetect.attacks.jsma import jsma
from advdetect.attacks.lbfgs import lbfgs
from advdetect.attacks.least_perturbation import least_perturbation
from advdetect.attacks.masked import fgsm_probabilities
from advdetect.attacks.mi_fgsm import mi_fgsm
from advdetect.attacks.opt import opt
from advdetect.attacks.ossa import ossa, ossa_direction
from advdetect.attacks.otcm import otcm
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.pgd import pgd
from advdetect.attacks.result import AttackResult
from advdetect.attacks.smoothed_bim import smoothed_bim
from advdetect.attacks.square import square
from advdetect.attacks.unchanged import unchanged
from advdetect.randomness import SampleGenerator
from counting_model import CountingModel

OSSA = partial(ossa, epsilon=1.0, steps=3, step_size=0.4, tolerance=1e-5, stop_at_success=True)
METHODS = ("exact", "lanczos", "power", "class_lanczos", "alias_lanczos", "alias_power")
ATTACKS: dict[str, Callable[..., AttackResult | list[AttackResult]]] = {
    "fgsm": partial(fgsm, epsilon=0.1),
    "fgsm_probabilities": partial(fgsm_probabilities, epsilon=0.1),
    "otcm": partial(otcm, epsilon=1.0),
    "bim": partial(bim, epsilon=1.0, norm="l2", steps=4, stop_at_success=True),
    "mi_fgsm": partial(mi_fgsm, epsilon=0.1),
    "pgd": partial(pgd, epsilon=0.1, steps=3, restarts=2),
    "apgd": partial(apgd, epsilon=0.1, steps=4, restarts=2, loss="dlr"),
    "smoothed_bim": partial(smoothed_bim, epsilon=1.0, sigma=0.1, draws=3, steps=2),
    "square": partial(square, epsilon=0.1, steps=5),
    "autoattack": partial(autoattack, epsilon=0.1, steps=3, target_classes=2, squares=5),
    "hopskipjump": partial(hopskipjump, steps=2, evaluations=20, tries=10),
    "gaussian_noise": partial(gaussian_noise, sigma=0.1),
    "unchanged": unchanged,
    **{f"ossa_{method}": partial(OSSA, method=method, draws=3) for method in METHODS},
    "ossa_least": partial(least_perturbation, direction=ossa_direction, epsilon_max=2.0),
    "jsma": partial(jsma, gamma=0.1),
    "jsma_probabilities": partial(jsma, gamma=0.08, output="probabilities"),
    "alma": partial(alma, steps=4),
    "deepfool": partial(deepfool, iterations=3),
    "fab": partial(fab, steps=2),
    "lbfgs": partial(lbfgs, search_steps=2, iterations=10, initial_constant=0.05),
    "cw_l2": partial(cw_l2, search_steps=1, iterations=10),
    "cw_l2_sweep": partial(
        cw_l2_sweep, variants=[{"kappa": 0}, {"kappa": 2}], search_steps=1, iterations=10
    ),
    "ead": partial(ead, search_steps=1, iterations=10),
    "opt": partial(opt, search_steps=1, iterations=10),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_the_counts_are_those_of_a_model_that_counts_itself(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def run(attacked: nn.Module) -> list[AttackResult]:
        found = ATTACKS[name](attacked, images, labels, generator=SampleGenerator(7, range(COUNT)))
        return found if isinstance(found, list) else [found]

    counting = CountingModel(model)
    expected = run(counting)
    with counted_passes(model) as passes:
        results = run(model)
    assert passes.forward == counting.tally.forward
    assert passes.backward == counting.tally.backward
    for result, other in zip(results, expected, strict=True):
        assert torch.equal(result.adversarial, other.adversarial)
        assert torch.equal(result.success, other.success)


def gradient(model: nn.Module, images: Tensor) -> Tensor:
    variable = images.clone().requires_grad_()
    return torch.autograd.grad(model(variable).sum(), variable)[0]


def test_products_with_the_jacobian_are_backward_passes(model: nn.Module, images: Tensor) -> None:
    variable = images.clone().requires_grad_()
    with counted_passes(model) as passes:
        logits = model(variable)
        seed = torch.ones_like(logits, requires_grad=True)
        (back,) = torch.autograd.grad(logits, variable, seed, create_graph=True)
        assert (passes.forward, passes.backward) == (COUNT, COUNT)
        for number in (2, 3):
            torch.autograd.grad(back, seed, torch.ones_like(back), retain_graph=True)
            assert passes.backward == number * COUNT


def test_a_gradient_of_the_logits_alone_goes_through_no_model(
    model: nn.Module, images: Tensor
) -> None:
    with counted_passes(model) as passes:
        logits = model(images.clone().requires_grad_())
        torch.autograd.grad(logits.logsumexp(dim=1).sum(), logits)
    assert (passes.forward, passes.backward) == (COUNT, 0)


def test_what_an_attack_does_to_the_logits_in_place_changes_no_count(
    model: nn.Module, images: Tensor
) -> None:
    variable = images.clone().requires_grad_()
    with counted_passes(model) as passes:
        logits = model(variable)
        logits -= logits.amax(dim=1, keepdim=True).detach()
        torch.autograd.grad(logits.exp().sum(), variable)
    assert (passes.forward, passes.backward) == (COUNT, COUNT)


def test_a_copy_of_the_model_counts_as_well(model: nn.Module, images: Tensor) -> None:
    with counted_passes(model) as passes:
        gradient(copy.deepcopy(model), images)
        pickle.dumps(model)  # hooks and all
    assert (passes.forward, passes.backward) == (COUNT, COUNT)


@pytest.mark.parametrize("fails", [False, True])
def test_the_hook_goes_with_the_block(fails: bool, model: nn.Module, images: Tensor) -> None:
    def use() -> None:
        with counted_passes(model) as passes:
            seen.append(passes)
            gradient(model, images)
            if fails:
                raise RuntimeError("the attack")

    seen: list = []
    model.register_forward_hook(lambda *_: None)  # another's, which stays
    before = dict(model._forward_hooks)
    if fails:
        with pytest.raises(RuntimeError, match="the attack"):
            use()
    else:
        use()
    assert dict(model._forward_hooks) == before
    gradient(model, images)
    (passes,) = seen
    assert (passes.forward, passes.backward) == (COUNT, COUNT)


def test_blocks_within_each_other_count_each(model: nn.Module, images: Tensor) -> None:
    with counted_passes(model) as outer:
        gradient(model, images)
        with counted_passes(model) as inner:
            gradient(model, images[:3])
    assert (outer.forward, outer.backward) == (COUNT + 3, COUNT + 3)
    assert (inner.forward, inner.backward) == (3, 3)
