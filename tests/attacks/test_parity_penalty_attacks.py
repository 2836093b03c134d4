"""C&W and EAD beside foolbox and adversarial-library, on LeNet-5 and digits of MNIST.

The libraries' defaults (nine search steps, c from 1e-3), with as few iterations for all as a test
can afford. A success is a margin of κ that is computed here, since not every library keeps its own;
distances are compared on the images on which both succeed.
"""

from dataclasses import dataclass

import pytest
import torch
from penalty_cases import margins
from torch import Tensor, nn

from advdetect.attacks.cw_l2 import cw_l2_sweep
from advdetect.attacks.ead import ead_sweep
from advdetect.randomness import SampleGenerator

COUNT = 8
ITERATIONS = 200
KAPPAS = [0.0, 5.0]
BETA = 0.1
each_kappa = pytest.mark.parametrize("kappa", KAPPAS)


@dataclass(frozen=True)
class Setting:
    """A classifier, images of which it knows the class, and our own attacks on them by name."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    ours: dict[tuple[str, float], Tensor]

    def success(self, adversarial: Tensor, kappa: float) -> Tensor:
        # A library may be off by rounding.
        return -margins(self.model, adversarial, self.labels) >= kappa - 1e-4

    def distance(self, adversarial: Tensor, norm: str) -> Tensor:
        change = (adversarial - self.images).double().flatten(1)
        l1, l2 = change.abs().sum(dim=1), change.norm(dim=1)
        return {"l2": l2, "l1": l1, "en": l2**2 + BETA * l1}[norm]

    def assert_no_worse(self, name: str, kappa: float, theirs: Tensor) -> None:
        ours = self.ours[name, kappa]
        succeeded, peer_succeeded = self.success(ours, kappa), self.success(theirs, kappa)
        assert succeeded.sum() >= peer_succeeded.sum()
        both = succeeded & peer_succeeded
        assert both.sum() >= COUNT // 4, "the comparison needs images"
        mine, other = (self.distance(images, name)[both].mean() for images in (ours, theirs))
        assert mine <= 1.005 * other


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def setting(lenet_and_digits) -> Setting:
    model, digits = lenet_and_digits
    images, labels = digits.images[:50].float() / 255, digits.labels[:50]
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels
    images, labels = images[right][:COUNT], labels[right][:COUNT]
    ours = {}
    results = cw_l2_sweep(
        model,
        images,
        labels,
        generator=SampleGenerator(0, range(COUNT)),
        variants=[{"kappa": kappa} for kappa in KAPPAS],
        iterations=ITERATIONS,
    )
    for kappa, result in zip(KAPPAS, results, strict=True):
        ours["l2", kappa] = result.adversarial
    variants = [{"rule": rule, "kappa": kappa} for kappa in KAPPAS for rule in ("en", "l1")]
    results = ead_sweep(
        model,
        images,
        labels,
        generator=SampleGenerator(0, range(COUNT)),
        variants=variants,
        beta=BETA,
        iterations=ITERATIONS,
    )
    for variant, result in zip(variants, results, strict=True):
        ours[variant["rule"], variant["kappa"]] = result.adversarial
    return Setting(model, images, labels, ours)


def test_ours_succeed_at_every_image(setting: Setting) -> None:
    for (_, kappa), adversarial in setting.ours.items():
        assert (-margins(setting.model, adversarial, setting.labels) >= kappa).all()


@each_kappa
def test_carlini_wagner_of_foolbox(kappa: float, setting: Setting) -> None:
    foolbox = pytest.importorskip("foolbox", reason="needs pip install -e '.[foolbox]'")
    attack = foolbox.attacks.L2CarliniWagnerAttack(steps=ITERATIONS, confidence=kappa)
    bounded = foolbox.PyTorchModel(setting.model, bounds=(0, 1), device="cpu")
    _, theirs, _ = attack(bounded, setting.images, setting.labels, epsilons=None)
    setting.assert_no_worse("l2", kappa, theirs)


@each_kappa
def test_carlini_wagner_of_adversarial_library(kappa: float, setting: Setting) -> None:
    adv_lib = pytest.importorskip(
        "adv_lib.attacks", reason="needs pip install -e '.[adversarial-library]'"
    )
    theirs = adv_lib.carlini_wagner_l2(
        setting.model,
        setting.images.clone(),
        setting.labels,
        confidence=kappa,
        max_iterations=ITERATIONS,
    )
    setting.assert_no_worse("l2", kappa, theirs)


@each_kappa
@pytest.mark.parametrize("rule", ["en", "l1"])
def test_elastic_net_of_foolbox(rule: str, kappa: float, setting: Setting) -> None:
    foolbox = pytest.importorskip("foolbox", reason="needs pip install -e '.[foolbox]'")
    attack = foolbox.attacks.EADAttack(
        steps=ITERATIONS, confidence=kappa, regularization=BETA, decision_rule=rule.upper()
    )
    bounded = foolbox.PyTorchModel(setting.model, bounds=(0, 1), device="cpu")
    _, theirs, _ = attack(bounded, setting.images, setting.labels, epsilons=None)
    setting.assert_no_worse(rule, kappa, theirs)
