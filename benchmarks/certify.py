"""Forward passes per second of counting classes under noise, beside the bare model's.

Run ``python benchmarks/certify.py --help``; README.md in this folder explains the table.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from advdetect.smoothing.counting import Noisy, count_classes
from models import prepare
from timing import random_orders

SIGMA = 0.25
BATCHES = (100, 200, 500, 1000, 2000, 4000, 10_000)
#: Makes so many forward passes for each image, so many at a time.
Passes = Callable[[nn.Module, Tensor, int, int], object]


@dataclass
class Way:
    """A way to make forward passes.

    Attributes:
        label: What the table calls it.
        passes: Makes them.
        batch: Forward passes at a time, its fastest.
        seconds: Of a forward pass, in each round.
    """

    label: str
    passes: Passes
    batch: int = 0
    seconds: list[float] = field(default_factory=list)

    def measure(self, model: nn.Module, images: Tensor, draws: int, batch: int) -> float:
        """Return seconds for each forward pass."""
        device = images.device
        _wait(device)
        # Not the clock on the wall where it can be helped: others may want the same core.
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        start = clock()
        self.passes(model, images, draws, batch)
        _wait(device)
        return (clock() - start) / (len(images) * draws)


@torch.no_grad()
def bare(model: nn.Module, images: Tensor, draws: int, batch: int) -> None:
    """Make the passes of noisy images that are there already, and look at no answer.

    Without noise they would be faster: on black a processor foresees what max-pooling chooses.
    """
    ready = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch]
    ready = ready + SIGMA * torch.randn_like(ready)
    for _ in range(-(-len(images) * draws // batch)):
        model(ready)


def ours(model: nn.Module, images: Tensor, draws: int, batch: int) -> None:
    """Count as the step certify does."""
    noisy = Noisy(lambda row: images[row], range(len(images)), SIGMA, {"estimation": draws}, seed=0)
    count_classes(model, noisy, batch_size=batch, device=images.device)


@torch.no_grad()
def image_by_image(model: nn.Module, images: Tensor, draws: int, batch: int) -> None:
    """Count as the code that Cohen et al. published does: each image and batch by itself."""
    for image in images:
        counts = torch.zeros(10, dtype=torch.long)
        for start in range(0, draws, batch):
            shown = image.repeat(min(batch, draws - start), 1, 1, 1)
            answers = model(shown + torch.randn_like(shown) * SIGMA).argmax(1)
            for answer in answers.cpu().numpy():
                counts[answer] += 1


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    model, images, description = prepare(arguments.model, arguments.data, arguments.images)
    model, images = model.to(arguments.device), images.to(arguments.device)
    ways = [
        Way("bare model", bare),
        Way("advdetect certify", ours),
        Way("image by image (Cohen et al.)", image_by_image),
    ]
    for way in ways:
        way.measure(model, images, arguments.draws, BATCHES[0])  # the first call is slow
        tried = {
            batch: min(way.measure(model, images, arguments.draws, batch) for _ in range(3))
            for batch in BATCHES
            if arguments.images * arguments.draws % batch == 0
        }
        way.batch = min(tried, key=lambda batch: tried[batch])
    for order in random_orders(len(ways), arguments.rounds):
        for index in order:
            way = ways[index]
            way.seconds.append(way.measure(model, images, arguments.draws, way.batch))
    print(
        f"{arguments.model}, {description}; {len(images)} image(s) with {arguments.draws} draws, "
        f"{arguments.device}, {arguments.threads} thread(s), PyTorch {torch.__version__}\n"
    )
    print(_table(ways))


def _table(ways: Sequence[Way]) -> str:
    rows = []
    for way in ways:
        ratios = [base / mine for base, mine in zip(ways[0].seconds, way.seconds, strict=True)]
        rows.append(
            [
                way.label,
                way.batch,
                f"{1e6 * statistics.median(way.seconds):.1f}",
                f"{1 / statistics.median(way.seconds):,.0f}",
                f"{statistics.median(ratios):.3f}",
                f"{min(ratios):.3f} to {max(ratios):.3f}",
            ]
        )
    headers = ["way", "at a time", "µs per pass", "passes per second"]
    headers += ["ratio to the bare model", "lowest to highest"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("lenet5", "vgg"), default="lenet5")
    parser.add_argument("--data", type=Path, help="folder of the data; random without it")
    parser.add_argument("--images", type=int, default=4, help="images (default 4)")
    parser.add_argument("--draws", type=int, default=1000, help="of each image (default 1000)")
    parser.add_argument("--rounds", type=int, default=25, help="rounds (default 25)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    return parser.parse_args()


if __name__ == "__main__":
    main()
