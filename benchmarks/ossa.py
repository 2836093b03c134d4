"""Table 1 of Zhao et al. (2019): time to find the top eigenvector of the input Fisher information.

Run ``python benchmarks/ossa.py --help``; README.md in this folder explains the tables.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torchvision.models import resnet18

from advdetect.attacks.passes import counted_passes
from advdetect.fisher.top_eigenpair import top_eigenpair
from advdetect.randomness import SampleGenerator
from contender import Contender
from timing import Entry, measure_in_turn

EXACT = "advdetect, exact"
EXPLICIT = "Eigen-decomposition"
#: The columns of the paper, and then ours.
METHODS = {
    "Lanczos": "lanczos",
    "Alias+Lanczos": "alias_lanczos",
    "Power iteration": "power",
    "Alias+Power iteration": "alias_power",
    EXACT: "exact",
    "advdetect, Lanczos in class space": "class_lanczos",
}
#: A method that takes longer than so many seconds is timed in the first round only.
_SLOW = 60


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    print(
        f"{arguments.threads} thread(s), PyTorch {torch.__version__}, random weights and images, "
        f"relative residual {arguments.tolerance}."
    )
    tables = {}
    if "cifar10" in arguments.networks:
        tables["CIFAR-10"] = measure(
            "10 classes at 32×32×3", cifar_resnet18, (3, 32, 32), arguments, explicit=True
        )
    if "ilsvrc2012" in arguments.networks:
        tables["ILSVRC-2012"] = measure(
            "1,000 classes at 224×224×3", resnet18, (3, 224, 224), arguments, explicit=False
        )
    columns = [EXPLICIT, *METHODS]
    rows = [
        [
            name,
            *(f"{times[column]:.3g}" if column in times else "intractable" for column in columns),
        ]
        for name, times in tables.items()
    ]
    print("\nTable 1, seconds per image\n")
    print(tabulate(rows, ["", *columns], tablefmt="github", disable_numparse=True))
    if "CIFAR-10" in tables:
        explain_intractable(tables["CIFAR-10"][EXPLICIT])


def measure(
    title: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, int, int],
    arguments: argparse.Namespace,
    *,
    explicit: bool,
) -> dict[str, float]:
    """Time all methods on one network, print a table, and return the seconds per image."""
    torch.manual_seed(0)  # for the random weights
    model = make().eval().requires_grad_(False)
    count = arguments.images
    images = torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))
    entries = {
        label: Entry(
            Contender(label, partial(eigenpair, method, arguments.tolerance), (count,)),
            model,
            chunk=count,
            count=count,
            seconds_per_image=[],
        )
        for label, method in METHODS.items()
    }
    if explicit:
        contender = Contender(EXPLICIT, eigendecomposition, (1,))
        entries = {EXPLICIT: Entry(contender, model, 1, 1, []), **entries}
    for method in ("lanczos", "alias_power"):  # the first call of anything is slow
        eigenpair(method, 0.5, model, images, draws=1)
    measure_in_turn(list(entries.values()), images, 1)
    fast = [entry for entry in entries.values() if entry.milliseconds < 1e3 * _SLOW]
    measure_in_turn(fast, images, arguments.repeats - 1)
    size = sum(parameter.numel() for parameter in model.parameters())
    print(f"\nResNet-18, {title}, {size:,} weights, {count} image(s)\n")
    print(_table(entries))
    return {label: entry.milliseconds / 1e3 for label, entry in entries.items()}


def cifar_resnet18() -> nn.Module:
    """Return ResNet-18 for 32×32 images: a first convolution of 3×3, and no pooling after it."""
    model = resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def eigenpair(
    method: str, tolerance: float, model: nn.Module, images: Tensor, draws: int | None = None
) -> Tensor:
    """Return (N, 2 + D): eigenvalue, backward passes and eigenvector, by one of our methods."""
    with counted_passes(model) as passes:
        found = top_eigenpair(
            model,
            images,
            method=method,
            generator=SampleGenerator(0, range(len(images))),
            tolerance=tolerance,
            draws=draws,
        )
    each = torch.full_like(found.log10_value, passes.backward / len(images))
    numbers = torch.stack([10**found.log10_value, each], dim=1)
    return torch.cat([numbers, found.vector.flatten(1).double()], dim=1)


def eigendecomposition(model: nn.Module, images: Tensor) -> Tensor:
    """Return the same from the explicit D×D matrix Σ_c p_c g_c g_cᵀ, in float64."""
    rows = []
    for image in images:
        variable = image[None].clone().requires_grad_()
        log_p = model(variable)[0].log_softmax(0)
        gradients = torch.stack(
            [torch.autograd.grad(v, variable, retain_graph=True)[0].flatten() for v in log_p]
        ).double()
        weighted = log_p.detach().double().exp()[:, None] * gradients
        values, vectors = torch.linalg.eigh(gradients.T @ weighted)
        numbers = torch.tensor([float(values[-1]), len(gradients)], dtype=torch.float64)
        rows.append(torch.cat([numbers, vectors[:, -1]]))
    return torch.stack(rows)


def explain_intractable(seconds: float) -> None:
    """Say what the explicit matrix of a 224×224×3 image would take."""
    small, large = 3 * 32**2, 3 * 224**2
    days = seconds * (large / small) ** 3 / 86400
    print(
        f"\nIntractable: the matrix of {large:,} × {large:,} numbers takes "
        f"{8 * large**2 / 1e9:,.0f} GB in float64, and its decomposition, cubic in the size, "
        f"{(large / small) ** 3:,.0f} times that of {small:,} × {small:,}, about {days:,.0f} days "
        "of this machine per image."
    )


def _table(entries: dict[str, Entry]) -> str:
    exact = entries[EXACT].values
    rows = []
    for label, entry in entries.items():
        spread, values = entry.seconds_per_image, entry.values
        reference = exact[: len(values)]
        difference = (values[:, 0] / reference[:, 0] - 1).abs()
        cosine = (values[:, 2:] * reference[:, 2:]).sum(dim=1).abs()
        rows.append(
            [
                label,
                f"{statistics.median(spread):.3g}",
                f"{min(spread):.3g} to {max(spread):.3g}",
                f"{statistics.median(values[:, 1].tolist()):.0f}",
                f"{difference.median():.0e}",
                f"{cosine.median():.6f}",
                len(spread),
            ]
        )
    headers = [
        "method",
        "seconds per image",
        "lowest to highest",
        "backward passes",
        "difference of λ₁",
        "|cos| of u₁",
        "rounds",
    ]
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    networks = ["cifar10", "ilsvrc2012"]
    parser.add_argument("--networks", nargs="+", choices=networks, default=networks)
    parser.add_argument("--images", type=int, default=1, help="images at a time")
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help=f"rounds, of which methods that take more than {_SLOW} s join the first only",
    )
    parser.add_argument("--tolerance", type=float, default=1e-3, help="of the iterations")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
