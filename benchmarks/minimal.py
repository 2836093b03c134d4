"""Optimality over passes of least perturbations: ours and other libraries' attacks.

Run ``python benchmarks/minimal.py --help``; README.md in this folder explains the tables.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from advdetect.attacks.libraries.shared import FrozenCopy
from advdetect.attacks.logits import margin, rounding
from advdetect.attacks.passes import counted_passes
from advdetect.device import prepare_torch
from minimal_attacks import ORDERS, Attack, ours, peers
from minimal_figure import Measured, draw
from models import prepare_attacked

_NORM_TITLES = {"l1": "L1", "l2": "L2", "linf": "L∞"}


def main() -> None:
    arguments = _parse()
    device = prepare_torch(arguments.device, arguments.threads)
    measured = {}
    for name, title, data, count, training, epochs in (
        ("lenet5", "LeNet-5, MNIST", arguments.data, arguments.images, 5_000, 8),
        ("vgg", "VGG, CIFAR-10", arguments.cifar10, arguments.cifar10_images, *arguments.vgg),
    ):
        if data is None:
            continue
        model, images, labels, description = prepare_attacked(
            name, data, count, training, epochs, device
        )
        print(
            f"{title}, {description}; the first {len(images)} test images that it classifies well, "
            f"on {device}.\n",
            flush=True,
        )
        batches = list(
            zip(images.split(arguments.batch), labels.split(arguments.batch), strict=True)
        )
        for norm in arguments.norm:
            panel = f"{title}, {_NORM_TITLES[norm]}"
            measured[panel] = compare(model, batches, norm)
    if arguments.figure:
        draw(arguments.figure, measured)


def compare(model: nn.Module, batches: list[tuple[Tensor, Tensor]], norm: str) -> Measured:
    """Run all attacks in a norm and print their table."""
    passes: dict[str, dict[str, float]] = {}
    distances: dict[str, Tensor] = {}
    for library, attacks in ({"advdetect": ours(norm)} | peers(norm)).items():
        passes[library] = {}
        for name, attack in attacks.items():
            start = time.perf_counter()
            try:
                passes[library][name], distances[name] = measure(model, batches, attack, norm)
            except (IndexError, RuntimeError, TypeError, ValueError) as error:
                if library == "advdetect":
                    raise
                print(f"{name} is left out, since it broke: {str(error).splitlines()[0]}\n")
                continue
            said = f"{passes[library][name]:.0f} passes per image"
            print(f"{name}: {said}, {time.perf_counter() - start:.1f} s", file=sys.stderr)
    envelope = torch.stack(list(distances.values())).amin(dim=0)
    optimal = {
        library: {name: optimality(distances[name], envelope) for name in names}
        for library, names in passes.items()
    }
    print(_table(passes, distances, optimal, envelope, norm), "\n", flush=True)
    return Measured(passes, optimal)


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
        Rows that went forward and backward, per image; and (N,) distances on the CPU, infinite
        where the model classifies what was returned as the label.
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
        distance = torch.linalg.vector_norm((found - images).flatten(1), ORDERS[norm], dim=1)
        distances.append(torch.where(fooled, distance, torch.inf).cpu())
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
    passes: Mapping[str, Mapping[str, float]],
    distances: Mapping[str, Tensor],
    optimal: Mapping[str, Mapping[str, float]],
    envelope: Tensor,
    norm: str,
) -> str:
    rows = []
    every = [
        (number, library, name) for library in passes for name, number in passes[library].items()
    ]
    for number, library, name in sorted(every):
        found = distances[name][distances[name].isfinite()]
        success = len(found) / len(envelope)
        nearest = (distances[name] <= envelope).double().mean()
        numbers = (f"{100 * optimal[library][name]:.2f}", f"{number:.0f}", f"{success:.0%}")
        lengths = (f"{found.mean():.4f}", f"{found.median():.4f}")
        rows.append([name, *numbers, f"{nearest:.0%}", *lengths])
    title = _NORM_TITLES[norm]
    headers = ["attack", "optimality", "passes per image", "success", "nearest"]
    headers += [f"mean {title}", f"median {title}"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder that holds MNIST/raw, for LeNet-5")
    parser.add_argument(
        "--cifar10", type=Path, help="folder of train/<class>/ and test/<class>/, for VGG"
    )
    parser.add_argument("--norm", choices=ORDERS, nargs="+", default=["l2"])
    parser.add_argument("--images", type=int, default=100, help="of MNIST")
    parser.add_argument("--cifar10-images", type=int, default=100)
    parser.add_argument(
        "--vgg",
        type=int,
        nargs=2,
        default=(20_000, 10),
        metavar=("IMAGES", "EPOCHS"),
        help="that VGG is trained with: minutes on a GPU, hours on a CPU",
    )
    parser.add_argument("--batch", type=int, default=50, help="images at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--figure", type=Path, help="picture of the curve, such as curve.png")
    arguments = parser.parse_args()
    if arguments.data is None and arguments.cifar10 is None:
        parser.error("there is nothing to attack: give --data, --cifar10 or both")
    return arguments


if __name__ == "__main__":
    main()
