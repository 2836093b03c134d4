"""Time, gradients and distortion of our minimal-norm attacks beside those of other libraries.

Run ``python benchmarks/attacks.py --help``; README.md in this folder explains the tables.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor, nn

from advdetect.attacks.libraries.shared import FrozenCopy
from advdetect.attacks.logits import margin, rounding
from advdetect.attacks.passes import Passes, counted_passes
from attack_contenders import BETA, Run, Setting, cw_runs, deepfool_runs, ead_runs
from attack_profile import print_profile
from models import prepare_lenet5
from timing import random_orders


@dataclass
class Measured:
    """A run and what it took.

    Attributes:
        run: The run.
        model: The model.
        passes: Rows that went through it, of each round.
        seconds: CPU seconds per image of each round.
        results: For each round and setting, (N, C, H, W) images.
    """

    run: Run
    model: FrozenCopy
    passes: list[Passes] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    results: list[list[Tensor]] = field(default_factory=list)

    def measure(self, images: Tensor, labels: Tensor) -> None:
        """Attack one batch."""
        images, labels = images.clone(), labels.clone()  # some libraries change them
        # Not the clock on the wall: others may want the same core.
        with counted_passes(self.model) as passes:
            start = time.process_time()
            found = self.run.attack(self.model, images, labels)
            self.seconds.append((time.process_time() - start) / len(images))
        self.passes.append(passes)
        self.results.append([result.detach().clamp(0, 1) for result in found])

    def adversarial(self, setting: Setting) -> Tensor | None:
        """Return the results of all rounds for a setting, if the run has it."""
        if setting not in self.run.settings:
            return None
        index = list(self.run.settings).index(setting)
        return torch.cat([results[index] for results in self.results])


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    counts = (arguments.cw, arguments.sweep, arguments.ead, arguments.art, arguments.deepfool)
    model, images, labels, description = prepare_lenet5(arguments.data, max(counts))
    print(
        f"LeNet-5, {description}; MNIST test images that it classifies correctly, "
        f"{arguments.threads} thread(s), PyTorch {torch.__version__}, "
        f"at most {arguments.iterations} iterations."
    )
    if arguments.profile:
        part = slice(0, arguments.batch)
        print_profile(model, images[part], labels[part], arguments.iterations)
        return
    steps, kappas = arguments.iterations, arguments.kappas
    parts = [
        *(
            (f"C&W, κ = {kappa:g}", arguments.cw, cw_runs([kappa], steps))
            for kappa in arguments.kappa
        ),
        (f"C&W, sweep of {len(kappas)} κ", arguments.sweep, cw_runs(kappas, steps)),
        *(
            (f"EAD, κ = {kappa:g}", arguments.ead, ead_runs(kappa, steps, art=False))
            for kappa in arguments.kappa
        ),
        ("EAD, with ART", arguments.art, ead_runs(0, steps, art=True)),
        ("DeepFool", arguments.deepfool, deepfool_runs()),
    ]
    for title, count, runs in parts:
        if count:
            batches = list(
                zip(
                    images[:count].split(arguments.batch),
                    labels[:count].split(arguments.batch),
                    strict=True,
                )
            )
            measured = measure(model, batches, runs)
            rounds = f"{len(batches)} round(s) of at most {arguments.batch}"
            print(f"\n{title}, {min(count, len(images))} images in {rounds}\n")
            print(_costs(measured), _distortions(measured, model, images, labels), sep="\n\n")


def measure(
    model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], runs: Sequence[Run]
) -> list[Measured]:
    """Attack each batch by every run, in a new order each time."""
    measured = [Measured(run, FrozenCopy(model, torch.float32)) for run in runs]
    for order, batch in zip(random_orders(len(runs), len(batches)), batches, strict=True):
        for index in order:
            measured[index].measure(*batch)
    return measured


def _costs(measured: Sequence[Measured]) -> str:
    ours = measured[0]
    rows = []
    for one in measured:
        images = sum(len(results[0]) for results in one.results)
        ratios = [mine / base for mine, base in zip(one.seconds, ours.seconds, strict=True)]
        rows.append(
            [
                one.run.label,
                f"{statistics.median(one.seconds):.3g}",
                f"{min(one.seconds):.3g} to {max(one.seconds):.3g}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{sum(passes.backward for passes in one.passes) / images:.0f}",
                f"{sum(passes.forward for passes in one.passes) / images:.0f}",
            ]
        )
    headers = ["method", "s per image", "lowest to highest", "ratio to ours", "lowest to highest"]
    headers += ["gradients per image", "forward passes per image"]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _distortions(
    measured: Sequence[Measured], model: nn.Module, images: Tensor, labels: Tensor
) -> str:
    rows = []
    for setting in dict.fromkeys(setting for one in measured for setting in one.run.settings):
        found = {
            one.run.label: adversarial
            for one in measured
            if (adversarial := one.adversarial(setting)) is not None
        }
        success = {
            label: reaches(model, adversarial, labels[: len(adversarial)], setting.kappa)
            for label, adversarial in found.items()
        }
        common = torch.stack(list(success.values())).all(dim=0)
        for label, adversarial in found.items():
            difference = adversarial - images[: len(adversarial)]
            rate = success[label].float().mean()
            rows.append(
                [
                    str(setting),
                    label,
                    f"{rate:.1%}",
                    f"{int(common.sum())}",
                    *_norms(difference[common]),
                    *_norms(difference[success[label]]),
                ]
            )
    norms = ["L2", "L1", "elastic net"]
    headers = ["setting", "method", "success", "common", *norms, *(f"{n}, own" for n in norms)]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


@torch.no_grad()
def reaches(model: nn.Module, images: Tensor, labels: Tensor, kappa: float) -> Tensor:
    """Return an (N,) bool tensor: another class is ahead by κ, to what rounding leaves open.

    An all-black image is none: foolbox returns it where it fails.
    """
    logits = model(images)
    black = ~images.flatten(1).any(dim=1)
    return (-margin(logits, labels) >= kappa - rounding(logits)) & ~black


def _norms(difference: Tensor) -> list[str]:
    """Return the mean L2 and L1 norms and the mean elastic net."""
    flat = difference.flatten(1)
    l1, l2 = flat.abs().sum(dim=1), flat.norm(dim=1)
    return [f"{norm.mean():.4g}" for norm in (l2, l1, l2.square() + BETA * l1)]


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds MNIST/raw")
    group = parser.add_argument_group("images for each table, 0 to leave it out")
    group.add_argument("--cw", type=int, default=128, help="C&W with one kappa")
    group.add_argument("--sweep", type=int, default=8, help="C&W with all of --kappas")
    group.add_argument("--ead", type=int, default=64, help="EAD")
    group.add_argument("--art", type=int, default=2, help="EAD beside ART")
    group.add_argument("--deepfool", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64, help="images at a time; each is a round")
    parser.add_argument("--iterations", type=int, default=1000, help="for one value of c, at most")
    parser.add_argument("--kappa", type=float, nargs="+", default=[0], help="one by one")
    parser.add_argument(
        "--kappas", type=float, nargs="+", default=list(range(0, 41, 5)), help="of the sweep"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="with more than one, seconds are those of all"
    )
    parser.add_argument(
        "--profile", action="store_true", help="show where our time goes on one batch, and end"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
