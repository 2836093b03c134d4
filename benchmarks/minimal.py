"""Optimality over passes of least perturbations: ours and other libraries' attacks.

Run ``python benchmarks/minimal.py --help``; README.md in this folder explains the table.
"""

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from advdetect.attacks.cw_l2 import cw_l2
from advdetect.attacks.ddn import ddn
from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.ead import ead
from advdetect.attacks.libraries.shared import FrozenCopy
from advdetect.attacks.logits import margin, rounding
from advdetect.attacks.nearest_classes import nearest_classes
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator
from models import prepare_lenet5

#: Maps a model, (N, C, H, W) images and (N,) labels to (N, C, H, W) results.
Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]

#: Orders of the norms.
_ORDERS = {"l1": 1, "l2": 2, "linf": math.inf}
#: (candidates, starts, steps) of the search towards the nearest classes.
_SETTINGS = (
    *((1, 1, 10), (2, 1, 15), (3, 1, 20), (3, 1, 50), (3, 1, 100), (4, 1, 250)),
    *((3, 2, 50), (3, 4, 50)),
)


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    model, images, labels, description = prepare_lenet5(
        arguments.data, arguments.images, training=5_000, epochs=8
    )
    print(f"LeNet-5, {description}; the first {len(images)} test images that it classifies well.\n")
    batches = list(zip(images.split(arguments.batch), labels.split(arguments.batch), strict=True))
    curves = {"advdetect": ours(arguments.norm)} | peers(arguments.norm)
    passes, distances = {}, {}
    for name, attack in [pair for attacks in curves.values() for pair in attacks.items()]:
        passes[name], distances[name] = measure(model, batches, attack, arguments.norm)
        print(f"{name}: {passes[name]:.0f} passes per image", file=sys.stderr, flush=True)
    envelope = torch.stack(list(distances.values())).amin(dim=0)
    optimal = {name: optimality(found, envelope) for name, found in distances.items()}
    print(_table(passes, distances, optimal, arguments.norm))
    if arguments.figure:
        _draw(arguments.figure, curves, passes, optimal)


def ours(norm: str) -> dict[str, Attack]:
    """Our attacks in a norm by name."""

    def of(attack: Callable[..., AttackResult]) -> Attack:
        def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            streams = SampleGenerator(0, range(len(images)))
            return attack(model, images, labels, generator=streams).adversarial

        return run

    attacks: dict[str, Callable[..., AttackResult]] = {
        f"nearest_classes_{norm}, {candidates} × {starts} × {steps}": partial(
            nearest_classes, norm=norm, candidates=candidates, starts=starts, steps=steps
        )
        for candidates, starts, steps in _SETTINGS
    }
    if norm == "l1":
        attacks["ead, 9 × 1000"] = partial(ead, rule="l1")
    elif norm == "l2":
        attacks |= {f"ddn, {steps}": partial(ddn, steps=steps) for steps in (100, 1000)}
        attacks |= {"cw_l2": cw_l2, "deepfool": deepfool}
    return {name: of(attack) for name, attack in attacks.items()}


def peers(norm: str) -> dict[str, dict[str, Attack]]:
    """Attacks in a norm by library, if it is installed, and name; says which is not."""
    found = {}
    for library, extra, attacks in (
        ("foolbox", "foolbox", _foolbox),
        ("adversarial-library", "adversarial-library", _adversarial_library),
    ):
        try:
            found[library] = attacks(norm)
        except ImportError:
            print(f"{library} is left out: pip install -e '.[{extra}]' brings it.\n")
    return found


def _foolbox(norm: str) -> dict[str, Attack]:
    from foolbox import PyTorchModel, attacks
    from foolbox.attacks.base import MinimizationAttack
    from foolbox.criteria import Misclassification

    found: dict[str, MinimizationAttack] = {}
    for steps in (100, 1000):
        if norm == "l1":
            found[f"foolbox, FMN, {steps}"] = attacks.L1FMNAttack(steps=steps)
        elif norm == "l2":
            found[f"foolbox, DDN, {steps}"] = attacks.DDNAttack(steps=steps)
        else:
            found[f"foolbox, FMN, {steps}"] = attacks.LInfFMNAttack(steps=steps)
    if norm != "l1":
        deepfool = attacks.L2DeepFoolAttack if norm == "l2" else attacks.LinfDeepFoolAttack
        found["foolbox, DeepFool"] = deepfool()

    def of(attack: MinimizationAttack) -> Attack:
        def run(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            bounded = PyTorchModel(model, bounds=(0, 1))
            return attack(bounded, images, Misclassification(labels), epsilons=None)[1]

        return run

    return {name: of(attack) for name, attack in found.items()}


def _adversarial_library(norm: str) -> dict[str, Attack]:
    from adv_lib.attacks import alma, fmn  # its DDN is foolbox's

    attacks: dict[str, Attack] = {}
    for steps in (100, 1000):
        attacks[f"adversarial-library, FMN, {steps}"] = partial(
            fmn, norm=_ORDERS[norm], steps=steps
        )
        if norm != "linf":
            # As in config/attack/advlib_alma.yaml; in L1 what its paper takes.
            attacks[f"adversarial-library, ALMA, {steps}"] = partial(
                alma, distance=norm, num_steps=steps, init_lr_distance=0.1 if norm == "l2" else 0.5
            )
    return attacks


def measure(
    model: nn.Module, batches: list[tuple[Tensor, Tensor]], attack: Attack, norm: str
) -> tuple[float, Tensor]:
    """Attack all images.

    Args:
        model: Classifier that returns logits, in eval mode.
        batches: (n, C, H, W) images and their (n,) labels.
        attack: What to run; what it says of its success is not believed.
        norm: "l1", "l2" or "linf", of the distances.

    Returns:
        Rows that went forward and backward, per image; and (N,) distances, infinite where the
        model classifies what was returned as the label.
    """
    frozen = FrozenCopy(model, torch.float32)
    rows, distances = 0, []
    for images, labels in batches:
        with counted_passes(frozen) as passes:
            # Some libraries change what they are given.
            found = attack(frozen, images.clone(), labels.clone()).detach().clamp(0, 1)
        rows += passes.forward + passes.backward
        with torch.no_grad():
            logits = model(found)
        fooled = margin(logits, labels) < rounding(logits)  # to what rounding leaves open
        fooled &= found.flatten(1).any(dim=1)  # foolbox returns black where it fails
        distance = torch.linalg.vector_norm((found - images).flatten(1), _ORDERS[norm], dim=1)
        distances.append(torch.where(fooled, distance, torch.inf))
    every = torch.cat(distances)
    return rows / len(every), every


def optimality(distances: Tensor, envelope: Tensor) -> float:
    """Return how near an attack is to the envelope of all: 1 on it, 0 without any success.

    Cinà et al. 2025 (AttackBench), section 3: the share of misclassified images over the allowed
    distance is integrated from 0 to where the envelope reaches all images, and divided by the same
    integral of the envelope.

    Args:
        distances: (N,) of the attack, infinite where it fails.
        envelope: (N,) of the nearest success of all attacks, finite.
    """
    end = envelope.max()
    return ((end - distances).clamp_min(0).mean() / (end - envelope).mean()).item()


def _table(
    passes: Mapping[str, float],
    distances: Mapping[str, Tensor],
    optimal: Mapping[str, float],
    norm: str,
) -> str:
    rows = []
    for name in sorted(passes, key=passes.__getitem__):
        found = distances[name][distances[name].isfinite()]
        share = len(found) / len(distances[name])
        numbers = (f"{100 * optimal[name]:.2f}", f"{passes[name]:.0f}", f"{share:.0%}")
        rows.append([name, *numbers, f"{found.mean():.4f}", f"{found.median():.4f}"])
    title = {"l1": "L1", "l2": "L2", "linf": "L∞"}[norm]
    headers = ["attack", "optimality", "passes per image", "success"]
    headers += [f"mean {title}", f"median {title}"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _draw(
    path: Path,
    curves: Mapping[str, Mapping[str, Attack]],
    passes: Mapping[str, float],
    optimal: Mapping[str, float],
) -> None:
    """Draw optimality over passes, the settings of one attack connected."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    names = [name for attacks in curves.values() for name in attacks]
    for method in dict.fromkeys(map(_method, names)):
        same = [name for name in names if _method(name) == method]
        same.sort(key=passes.__getitem__)
        x, y = [passes[name] for name in same], [100 * optimal[name] for name in same]
        axes.plot(x, y, marker="o", label=method)
    axes.set(xscale="log", xlabel="passes per image", ylabel="optimality in %", ylim=(75, 100.5))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=150)


def _method(name: str) -> str:
    """Return a name without its setting, which begins with a digit: ``ddn`` for ``ddn, 100``."""
    method, _, setting = name.rpartition(", ")
    return method if method and setting[0].isdigit() else name


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--norm", choices=_ORDERS, default="l2")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--batch", type=int, default=50, help="images at a time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="picture of the curve, such as curve.png")
    return parser.parse_args()


if __name__ == "__main__":
    main()
