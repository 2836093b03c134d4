"""Time and memory of the Fisher kernels beside other ways to the same numbers.

Run ``python benchmarks/fisher.py --help``; README.md in this folder explains the tables.
"""

import argparse
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from contenders import INPUT, UNIT, WEIGHTS
from memory import memory_per_image
from models import prepare
from timing import Entry, measure_in_turn, tune


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    model, images, description = prepare(arguments.model, arguments.data, arguments.images)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"{arguments.model}: {size:,} weights, {description}.")
    print(
        f"{arguments.threads} thread(s), PyTorch {torch.__version__}, {arguments.repeats} rounds."
    )
    entries = {contender: tune(contender, model, images) for contender in (UNIT, *WEIGHTS, *INPUT)}
    measure_in_turn(list(entries.values()), images, arguments.repeats)
    unit = entries[UNIT].milliseconds
    print(f"\nOne forward and backward pass: {unit:.3f} ms per image.")
    for title, group in (("weight Fisher information", WEIGHTS), ("input Fisher spectrum", INPUT)):
        print(f"\n{title}\n")
        print(_table([entries[contender] for contender in group], unit, model, images))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=["lenet5", "vgg"], default="lenet5")
    parser.add_argument("--images", type=int, default=256, help="largest number of images used")
    parser.add_argument("--repeats", type=int, default=5, help="rounds; the medians are reported")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder with MNIST/raw (lenet5), or with train/<class>/ and test/<class>/ of 32x32 "
        "images (vgg); random weights and images without it",
    )
    return parser.parse_args()


def _table(entries: list[Entry], unit: float, model: nn.Module, images: Tensor) -> str:
    ours = entries[0]
    rows = []
    for entry in entries:
        spread = entry.seconds_per_image
        memory = memory_per_image(entry.contender, model, images[: entry.chunk])
        rows.append(
            [
                entry.contender.label,
                entry.milliseconds,
                f"{1e3 * min(spread):.3g} to {1e3 * max(spread):.3g}",
                entry.milliseconds / ours.milliseconds,
                entry.milliseconds / unit,
                f"{memory:.2f}",
                entry.chunk,
                entry.count,
                _difference(ours.values, entry.values),
            ]
        )
    headers = [
        "method",
        "ms per image",
        "lowest to highest",
        "ratio to ours",
        "fwd+bwd passes",
        "MB per image",
        "chunk",
        "images",
        "difference",
    ]
    return tabulate(rows, headers, tablefmt="github", floatfmt=".3g")


def _difference(ours: Tensor | None, other: Tensor | None) -> str:
    """Return the median relative difference of the numbers computed by both."""
    if ours is None or other is None:
        return ""
    count = min(len(ours), len(other))
    return f"{((other[:count] - ours[:count]).abs() / ours[:count]).median():.0e}"


if __name__ == "__main__":
    main()
