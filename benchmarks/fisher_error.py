"""Error of the approximate forms of the weight Fisher information against the exact ones.

Run ``python benchmarks/fisher_error.py --help``; README.md in this folder explains the tables.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from scipy.stats import spearmanr
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional

from advdetect.fisher.weights import Classes, WeightFisherForms, weight_fisher_forms
from advdetect.randomness import SampleGenerator
from models import prepare_lenet5
from timing import random_orders

FORMS = {
    "log10_trace": "trace (4)",
    "log10_quadratic_form": "quadratic form (5)",
    "log10_normalized_form": "normalised form (8)",
}
#: The paper's step; the others show where rounding and curvature take over.
STEPS = (1e-2, 1e-4, 1e-6)
#: Standard deviations of 1,000 logits: a network that is undecided, and one that is not.
SPREADS = (2.0, 5.0)
Method = Callable[[nn.Module, Tensor], WeightFisherForms]


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    model, images, _, description = prepare_lenet5(arguments.data, arguments.images)
    with torch.no_grad():
        doubt = 1 - model.double()(images.double()).softmax(dim=1).amax(dim=1)
        model.float()
    print(f"LeNet-5, {description}; {len(images)} test images; PyTorch {torch.__version__}.")
    print(
        f"1 - p of the predicted class: median {doubt.median():.1e}, "
        f"above 0.1 for {(doubt > 0.1).sum()} of the images, below 1e-6 for "
        f"{(doubt < 1e-6).sum()}.\n"
    )
    print(_ten_classes(model, images, doubt))
    for spread in SPREADS:
        print(f"\n{arguments.classes:,} classes, logits with a standard deviation of {spread}\n")
        print(_many_classes(arguments.classes, spread, arguments.many_images, arguments.repeats))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="test images for LeNet-5")
    parser.add_argument("--classes", type=int, default=1000, help="classes of the other network")
    parser.add_argument("--many-images", type=int, default=8, help="images for the other network")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the medians are reported")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, required=True, help="folder with MNIST/raw")
    return parser.parse_args()


def _ten_classes(model: nn.Module, images: Tensor, doubt: Tensor) -> str:
    """Compare every approximation on all images, float32 differences also on two groups."""
    exact = _exact(model, images)
    methods: dict[str, WeightFisherForms] = {
        "exact, float32": weight_fisher_forms(model, images),
        "two classes (7)": weight_fisher_forms(model, images, classes="two"),
        "block-diagonal": weight_fisher_forms(model, images, block="tensor"),
    }
    for top, samples in ((1, 1), (3, 2)):
        methods[f"top {top} + {samples} of the tail"] = _top_k(top, samples)(model, images)
    for step in STEPS:
        methods[f"finite differences, float64, {step:.0e}"] = weight_fisher_forms(
            model, images, derivative="finite_difference", step=step
        )
    rows = [
        [label, *_errors(vars(found)[form], vars(exact)[form], FORMS[form])]
        for label, found in methods.items()
        for form in FORMS
        if not (label.startswith("finite") and form == "log10_trace")  # which stays exact
    ]
    for step, two in ((1e-2, False), (1e-4, False), (1e-6, False), (1e-4, True)):
        normalized = _differences_in_float32(model, images, step, two)
        reference = _exact(model, images, classes="two") if two else exact
        for name, group in (
            ("", doubt >= 0),
            (", 1 - p > 0.1", doubt > 0.1),
            (", 1 - p < 1e-6", doubt < 1e-6),
        ):
            if group.sum() > 2:
                values = vars(reference)["log10_normalized_form"][group]
                label = f"{'two classes by ' if two else ''}finite differences, float32, {step:.0e}"
                errors = _errors(normalized[group], values, FORMS["log10_normalized_form"])
                rows.append([label + name, *errors])
    return _table(rows, [])


def _exact(model: nn.Module, images: Tensor, classes: Classes = "all") -> WeightFisherForms:
    """Return the exact forms in float64."""
    forms = weight_fisher_forms(model.double(), images.double(), classes=classes)
    model.float()
    return forms


def _top_k(top: int, tail_samples: int) -> Method:
    def compute(model: nn.Module, images: Tensor) -> WeightFisherForms:
        generator = SampleGenerator(0, range(len(images)))
        return weight_fisher_forms(
            model,
            images,
            approximation="top_k",
            top=top,
            tail_samples=tail_samples,
            generator=generator,
        )

    return compute


def _differences_in_float32(model: nn.Module, images: Tensor, step: float, two: bool) -> Tensor:
    """Return log10 of the normalised form by equation (9) in float32, as one would write it.

    What is not a number, as for two classes where 1 − p rounds to zero, counts as zero.
    """
    parameters = list(model.parameters())

    def log_probabilities(image: Tensor, predicted: int) -> Tensor:
        log_p = model(image[None])[0].log_softmax(dim=0)
        own = log_p[predicted]
        return torch.stack([own, (1 - own.exp()).log()]) if two else log_p

    forms = []
    for image in images:
        predicted = int(model(image[None]).argmax())
        log_p = log_probabilities(image, predicted)
        v = torch.autograd.grad(log_p[0 if two else predicted], parameters)
        length = torch.cat([part.flatten() for part in v]).norm().clamp_min(1e-38)
        originals = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter, part in zip(parameters, v, strict=True):
                parameter += step * part / length
            moved = log_probabilities(image, predicted)
            for parameter, original in zip(parameters, originals, strict=True):
                parameter.copy_(original)
        forms.append((log_p.exp() * ((moved - log_p) / step).square()).sum().detach())
    values = torch.stack(forms).double().nan_to_num(nan=0, posinf=0)
    return values.clamp_min(1e-300).log10()


def _errors(found: Tensor, exact: Tensor, form: str) -> list:
    """Return the form, the median and the 95 % quantile of the relative error, and Spearman's ρ."""
    error = (10 ** (found - exact) - 1).abs()
    ratio = (10 ** (found - exact)).median()
    varies = found.unique().numel() > 1
    return [
        form,
        f"{error.median():.1e}",
        f"{error.quantile(0.95):.1e}",
        f"{ratio:.3f}",
        f"{spearmanr(found, exact).statistic:.4f}" if varies else "",
    ]


def _table(rows: list[list], further: list[str]) -> str:
    headers = ["method", "form", "median error", "95 % quantile", "median ratio", "rank corr."]
    return tabulate(rows, [*headers, *further], tablefmt="github", disable_numparse=True)


def _many_classes(classes: int, spread: float, count: int, repeats: int) -> str:
    """Compare errors and times on a network with random weights and small random images."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128 * 64, classes),
    ).eval()
    images = torch.rand(count, 3, 32, 32)
    with torch.no_grad():
        model[-1].weight *= spread / model(images).std(dim=1).mean()
    methods: dict[str, Method] = {
        "exact": weight_fisher_forms,
        **{f"top {top} + {samples} of the tail": _top_k(top, samples) for top, samples in
           ((1, 1), (10, 2), (50, 10))},
        "two classes (7)": lambda model, images: weight_fisher_forms(model, images, classes="two"),
    }  # fmt: skip
    exact, results = weight_fisher_forms(model, images), {}
    seconds: dict[str, list[float]] = {label: [] for label in ("unit", *methods)}
    for label, method in methods.items():
        results[label] = method(model, images)
    labels = [label for label in seconds if label != "exact"]
    for order in random_orders(len(labels), repeats):
        for index in order:
            compute = methods.get(labels[index], _forward_backward)
            seconds[labels[index]].append(_seconds(compute, model, images))
    seconds["exact"].append(_seconds(weight_fisher_forms, model, images))  # long enough as it is
    unit = torch.tensor(seconds["unit"]).median()
    rows = [
        [
            label,
            *_errors(vars(found)[form], vars(exact)[form], FORMS[form]),
            f"{torch.tensor(seconds[label]).median() / unit:.1f}",
        ]
        for label, found in results.items()
        if label != "exact"
        for form in FORMS
    ]
    likely = model(images).softmax(dim=1).topk(11, dim=1).values
    p, rest = likely[:, 0].median(), (1 - likely.sum(dim=1)).median()
    size = sum(parameter.numel() for parameter in model.parameters())
    sentence = (
        f"{size:,} random weights, {count} random images of 32x32x3; p of the predicted class: "
        f"{p:.2f}, of all but the first 11: {rest:.3f} (medians). One forward and backward pass: "
        f"{1e3 * unit / count:.2f} ms per image; exact: "
        f"{torch.tensor(seconds['exact']).median() / unit:.0f} passes.\n\n"
    )
    return sentence + _table(rows, ["fwd+bwd passes"])


def _forward_backward(model: nn.Module, images: Tensor) -> None:
    """One training step without the optimiser: the unit of the table."""
    logits = model(images)
    torch.autograd.grad(
        functional.cross_entropy(logits, logits.detach().argmax(1)), list(model.parameters())
    )


def _seconds(compute: Callable, model: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    compute(model, images)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
