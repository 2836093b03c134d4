"""What the benchmark of least perturbations compares: ours and other libraries' attacks.

Each maps a model, (N, C, H, W) images and (N,) labels to (N, C, H, W) results. A name that ends in
", " and a setting that begins with a digit is one of several budgets of an attack.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from advdetect.attacks.alma import alma
from advdetect.attacks.cw_l2 import cw_l2
from advdetect.attacks.ddn import ddn
from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.ead import ead
from advdetect.attacks.fab import fab
from advdetect.attacks.nearest_classes import nearest_classes
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]

#: Orders of the norms.
ORDERS = {"l1": 1, "l2": 2, "linf": math.inf}
#: (candidates, starts, steps) of the search towards the nearest classes.
_SETTINGS = (
    *((1, 1, 10), (2, 1, 15), (3, 1, 20), (3, 1, 50), (3, 1, 100), (4, 1, 250)),
    *((3, 2, 50), (3, 4, 50), (4, 8, 100)),
)
#: (classes, steps) of FAB-T.
_FAB_SETTINGS = ((3, 10), (9, 30), (9, 100))
#: Largest radius of what is bisected over it, for pixels in [0, 1].
_LARGEST = {"l2": 8.0, "linf": 0.5}
#: Halvings of it.
_HALVINGS = 8


def ours(norm: str) -> dict[str, Attack]:
    """Our attacks in a norm by name."""

    def of(attack: Callable[..., AttackResult]) -> Attack:
        def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            streams = SampleGenerator(0, range(len(images)))
            return attack(model, images, labels, generator=streams).adversarial

        return run

    attacks: dict[str, Callable[..., AttackResult]] = {
        f"nearest_classes, {candidates} × {starts} × {steps}": partial(
            nearest_classes, norm=norm, candidates=candidates, starts=starts, steps=steps
        )
        for candidates, starts, steps in _SETTINGS
    }
    if norm == "l1":
        attacks["ead, 9 × 1000"] = partial(ead, rule="l1")
    elif norm == "l2":
        for steps in (100, 1000):
            attacks[f"ddn, {steps}"] = partial(ddn, steps=steps)
            attacks[f"alma, {steps}"] = partial(alma, steps=steps)
        attacks |= {"cw_l2": cw_l2, "deepfool": deepfool}
    if norm != "l1":
        for classes, steps in _FAB_SETTINGS:
            attacks[f"fab, {classes} × {steps}"] = partial(
                fab, norm=norm, target_classes=classes, steps=steps
            )
    by_name = {name: of(attack) for name, attack in attacks.items()}
    if norm == "l2":
        for first in ("3 × 2 × 50", "4 × 1 × 250"):
            by_name[f"nearest_classes or alma, {first} and 1000"] = _nearer(
                by_name[f"nearest_classes, {first}"], by_name["alma, 1000"]
            )
    return by_name


def peers(norm: str) -> dict[str, dict[str, Attack]]:
    """Attacks in a norm by library, if it is installed, and name; says which is not."""
    found = {}
    for library, attacks in (
        ("foolbox", _foolbox),
        ("adversarial-library", _adversarial_library),
        ("torchattacks", _torchattacks),
    ):
        try:
            found[library] = {
                f"{library}, {name}": attack for name, attack in attacks(norm).items()
            }
        except ImportError:
            print(f"{library} is left out: pip install -e '.[{library}]' brings it.\n")
    return found


def _foolbox(norm: str) -> dict[str, Attack]:
    from foolbox import PyTorchModel, attacks
    from foolbox.attacks.base import Attack as FoolboxAttack
    from foolbox.criteria import Misclassification

    def at(attack: FoolboxAttack, epsilon: float | None) -> Attack:
        def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            bounded = PyTorchModel(model, bounds=(0, 1), device=images.device)
            return attack(bounded, images, Misclassification(labels), epsilons=epsilon)[1]

        return run

    found: dict[str, FoolboxAttack] = {}
    for steps in (100, 1000):
        if norm == "l1":
            found[f"FMN, {steps}"] = attacks.L1FMNAttack(steps=steps)
        elif norm == "l2":
            found[f"DDN, {steps}"] = attacks.DDNAttack(steps=steps)
            found[f"FMN, {steps}"] = attacks.L2FMNAttack(steps=steps)
        else:
            found[f"FMN, {steps}"] = attacks.LInfFMNAttack(steps=steps)
    if norm == "l2":
        for searches, steps in ((9, 100), (9, 300)):
            found[f"C&W, {searches} × {steps}"] = attacks.L2CarliniWagnerAttack(
                binary_search_steps=searches, steps=steps
            )
    if norm != "l1":
        deepfool = attacks.L2DeepFoolAttack if norm == "l2" else attacks.LinfDeepFoolAttack
        found["DeepFool"] = deepfool()
    by_name = {name: at(attack, None) for name, attack in found.items()}
    if norm != "l1":
        bim = attacks.L2BasicIterativeAttack if norm == "l2" else attacks.LinfBasicIterativeAttack
        for steps in (10, 40):
            by_name[f"BIM, {_HALVINGS} × {steps}"] = _bisected(
                partial(at, bim(steps=steps)), _LARGEST[norm]
            )
    return by_name


def _adversarial_library(norm: str) -> dict[str, Attack]:
    from adv_lib.attacks import alma, fmn, pdgd, pdpgd, sdf, tr  # its DDN is foolbox's

    order = ORDERS[norm]
    found: dict[str, Attack] = {}
    for steps in (100, 1000):
        found[f"FMN, {steps}"] = partial(fmn, norm=order, steps=steps)
        if norm == "l2":
            found[f"PDGD, {steps}"] = partial(pdgd, num_steps=steps)
        else:
            found[f"PDPGD, {steps}"] = partial(pdpgd, norm=order, num_steps=steps)
        if norm != "linf":
            # As in config/attack/advlib_alma.yaml; in L1 what its paper takes.
            found[f"ALMA, {steps}"] = partial(
                alma, distance=norm, num_steps=steps, init_lr_distance=0.1 if norm == "l2" else 0.5
            )
    if norm != "l1":
        for steps in (100, 1000):
            found[f"TR, {steps}"] = partial(tr, p=order, iter=steps)
    if norm == "l2":
        found["SuperDeepFool"] = sdf
    return found


def _torchattacks(norm: str) -> dict[str, Attack]:
    from torchattacks import FAB

    def of(steps: int) -> Attack:
        def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            # What is farther than eps it would not return.
            given = {"norm": {"l2": "L2", "linf": "Linf"}[norm], "eps": 1e9, "steps": steps}
            return FAB(model, **given)(images, labels)

        return run

    return {} if norm == "l1" else {f"FAB, {steps}": of(steps) for steps in (10, 30, 100)}


def _nearer(first: Attack, second: Attack) -> Attack:
    """Return of two attacks in L2, which leave failures unchanged, the nearer successes."""

    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        found = torch.stack([attack(model, images, labels) for attack in (first, second)])
        length = torch.linalg.vector_norm((found - images).flatten(2), dim=2)
        chosen = torch.where(length > 0, length, torch.inf).argmin(dim=0)
        return found[chosen, torch.arange(len(images), device=images.device)]

    return run


def _bisected(attack_at: Callable[[float], Attack], largest: float) -> Attack:
    """Return the nearest successes of an attack within a radius, each image's radius bisected.

    Such attacks take one radius for all images, so that those of a radius are attacked together.
    """

    def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        low = torch.zeros(len(images), device=images.device)
        high, nearest = torch.full_like(low, largest), images.clone()
        for _ in range(_HALVINGS):
            radius = (low + high) / 2
            for value in radius.unique().tolist():
                rows = (radius == value).nonzero().flatten()
                found = attack_at(value)(model, images[rows], labels[rows]).detach()
                with torch.no_grad():
                    success = model(found).argmax(dim=1) != labels[rows]
                nearest[rows[success]] = found[success]
                high[rows[success]] = value
                low[rows[~success]] = value
        return nearest

    return run
