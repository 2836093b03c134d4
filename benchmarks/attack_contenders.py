"""What the attack benchmark compares: our attacks and those of other libraries.

Each runs untargeted with the original parameters: 9 values of c, at most 1,000 iterations for each
of them, step length 0.01; the peers start at c = 0.001.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from adv_lib.attacks import carlini_wagner_l2
from art.attacks.evasion import ElasticNet
from art.estimators.classification import PyTorchClassifier
from foolbox import PyTorchModel
from foolbox.attacks import EADAttack, L2CarliniWagnerAttack, L2DeepFoolAttack
from foolbox.attacks.base import MinimizationAttack
from foolbox.criteria import Misclassification
from torch import Tensor, nn

from advdetect.attacks.cw_l2 import cw_l2_sweep
from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.ead import ead, ead_sweep
from advdetect.attacks.libraries.shared import FrozenCopy
from advdetect.randomness import SampleGenerator

#: Weight of the L1 norm in the elastic net.
BETA = 0.1
#: Rows of a batch of our sweep, (image, κ) pairs, at most.
_LANES = 256

#: Maps a model, (N, C, H, W) images and (N,) labels to (N, C, H, W) results, one per setting.
Attack = Callable[[FrozenCopy, Tensor, Tensor], list[Tensor]]


@dataclass(frozen=True)
class Setting:
    """What is asked of an attack.

    Attributes:
        kappa: Margin that makes a success.
        rule: Decision rule of EAD.
    """

    kappa: float
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.rule} κ = {self.kappa:g}".strip()


@dataclass(frozen=True)
class Run:
    """What is timed as one.

    Attributes:
        label: What the tables call it.
        settings: What each of the results is for.
        attack: What is run.
    """

    label: str
    settings: Sequence[Setting]
    attack: Attack


def cw_runs(kappas: Sequence[float], iterations: int) -> list[Run]:
    """C&W with each κ: ours in one batch, the peers one κ after the other."""

    def ours(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        chunk = max(1, _LANES // len(kappas))
        variants = [{"kappa": kappa} for kappa in kappas]
        parts = [
            cw_l2_sweep(
                model,
                part,
                goal,
                generator=_streams(part),
                variants=variants,
                iterations=iterations,
            )
            for part, goal in zip(images.split(chunk), labels.split(chunk), strict=True)
        ]
        return [torch.cat([r.adversarial for r in group]) for group in zip(*parts, strict=True)]

    def adv_lib(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        return [
            carlini_wagner_l2(model, images, labels, confidence=kappa, max_iterations=iterations)
            for kappa in kappas
        ]

    attacks = [L2CarliniWagnerAttack(steps=iterations, confidence=kappa) for kappa in kappas]
    settings = [Setting(kappa) for kappa in kappas]
    return [
        Run("advdetect, cw_l2", settings, ours),
        Run("adversarial-library, carlini_wagner_l2", settings, adv_lib),
        Run("foolbox, L2CarliniWagnerAttack", settings, _foolbox(attacks)),
    ]


def ead_runs(kappa: float, iterations: int, *, art: bool) -> list[Run]:
    """EAD with both decision rules; for ART, which is slow, the rule EN alone and fewer rivals."""

    def one_rule(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        result = ead(
            model,
            images,
            labels,
            generator=_streams(images),
            kappa=kappa,
            beta=BETA,
            iterations=iterations,
        )
        return [result.adversarial]

    def both_rules(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        results = ead_sweep(
            model,
            images,
            labels,
            generator=_streams(images),
            variants=[{"rule": "en", "kappa": kappa}, {"rule": "l1", "kappa": kappa}],
            beta=BETA,
            iterations=iterations,
        )
        return [result.adversarial for result in results]

    def elastic_net(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        classes = 10
        classifier = PyTorchClassifier(
            model=model,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        attack = ElasticNet(
            classifier,
            confidence=kappa,
            max_iter=iterations,
            beta=BETA,
            batch_size=len(images),
            verbose=False,
        )
        one_hot = nn.functional.one_hot(labels, classes).float()
        return [torch.from_numpy(attack.generate(x=images.numpy(), y=one_hot.numpy()))]

    def foolbox(rule: Literal["EN", "L1"]) -> Attack:
        return _foolbox(
            [EADAttack(steps=iterations, confidence=kappa, regularization=BETA, decision_rule=rule)]
        )

    en, l1 = (Setting(kappa, rule) for rule in ("EN", "L1"))
    ours = Run("advdetect, ead, one rule", [en], one_rule)
    peer = Run("foolbox, EADAttack, EN", [en], foolbox("EN"))
    if art:
        return [ours, peer, Run("ART, ElasticNet", [en], elastic_net)]
    return [
        ours,
        Run("advdetect, ead, both rules", [en, l1], both_rules),
        peer,
        Run("foolbox, EADAttack, L1", [l1], foolbox("L1")),
    ]


def deepfool_runs() -> list[Run]:
    """DeepFool, with all ten classes."""

    def ours(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        return [deepfool(model, images, labels, generator=_streams(images)).adversarial]

    settings = [Setting(kappa=0)]
    return [
        Run("advdetect, deepfool", settings, ours),
        Run("foolbox, L2DeepFoolAttack", settings, _foolbox([L2DeepFoolAttack()])),
    ]


def _foolbox(attacks: Sequence[MinimizationAttack]) -> Attack:
    def run(model: FrozenCopy, images: Tensor, labels: Tensor) -> list[Tensor]:
        bounded, goal = PyTorchModel(model, bounds=(0, 1)), Misclassification(labels)
        return [attack(bounded, images, goal, epsilons=None)[1] for attack in attacks]

    return run


def _streams(images: Tensor) -> SampleGenerator:
    """Return what random targets would be drawn from; there are none here."""
    return SampleGenerator(0, range(len(images)))
