import copy
import math
import warnings
from typing import Any

import pytest
import torch
from explicit_fisher import weight_forms, weight_gradients
from fisher_models import CLASSES, LAYERS, STRUCTURES, build, images, mlp
from torch import Tensor, nn

from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.fisher.categorical import log_odds
from advdetect.fisher.many_classes import mean_squared_norm, products_with_mean
from advdetect.fisher.per_sample import VectorizedGradients
from advdetect.fisher.tangent_choice import weight_tangents
from advdetect.fisher.weight_gradients import record_weight_gradients
from advdetect.fisher.weights import weight_fisher_forms
from advdetect.randomness import SampleGenerator


def approximate(
    model: nn.Module, x: Tensor, generator: SampleGenerator, **options: int | str
) -> Tensor:
    """Return the (N, 3) quantities by top_k."""
    forms = weight_fisher_forms(model, x, approximation="top_k", generator=generator, **options)
    return torch.stack(list(forms.linear().values()), dim=1)


def streams(count: int, seed: int = 0) -> SampleGenerator:
    return SampleGenerator(seed, range(count))


def products(model: nn.Module, x: Tensor) -> Tensor:
    gradients = record_weight_gradients(model, x)
    return products_with_mean(model, x, gradients, log_odds(gradients.logits))


def exact_products(model: nn.Module, x: Tensor) -> Tensor:
    """Return ∇_θ η_c · Σ_d q_d ∇_θ η_d / max(q) from explicit gradients, in float64."""
    model = copy.deepcopy(model).double().requires_grad_(True)
    products = []
    for image in x.double():
        p = model(image[None]).detach().softmax(1)[0]
        y = int(p.argmax())
        rows = torch.cat(weight_gradients(model, image), dim=1)
        # log p_c − log p_y = η_c, the other classes in order.
        eta = torch.cat([rows[:y], rows[y + 1 :]]) - rows[y]
        q = torch.cat([p[:y], p[y + 1 :]])
        products.append(eta @ (q @ eta) / q.max())
    return torch.stack(products)


@pytest.mark.parametrize("name", [*LAYERS, *STRUCTURES])
@pytest.mark.filterwarnings("ignore:.*slower", "ignore:Using padding='same'")
def test_products_agree_with_explicit_gradients(name: str) -> None:
    model, x = build(name), images()
    expected = exact_products(model, x)
    double = copy.deepcopy(model).double()
    torch.testing.assert_close(products(double, x.double()), expected, rtol=1e-10, atol=1e-12)
    single = products(model, x)
    torch.testing.assert_close(single, expected, rtol=1e-3, atol=1e-3 * float(expected.max()))


@pytest.mark.parametrize("name", ["convolution", "batch norm", "shared convolution", "layer norm"])
def test_layer_rules_apply_without_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        approximate(build(name), images(), streams(3), top=1)


@pytest.mark.filterwarnings("ignore:.*slower")
def test_models_without_layer_rules_are_computed_in_batches() -> None:
    model, x = build("tied"), images()
    assert type(record_weight_gradients(model, x)) is VectorizedGradients
    assert [len(tangents.images) for tangents in weight_tangents(model, x)] == [3]


def test_a_first_call_with_its_check_takes_at_most_20_passes() -> None:
    model, image = mlp(9, classes=30), images(1)
    counts = []
    for _ in range(2):
        with counted_passes(model) as passes:
            approximate(model, image, streams(1), top=10, tail_samples=2)
        counts.append((passes.forward, passes.backward))
    assert counts == [(3, 16), (1, 14)]


class OnceDifferentiable(torch.autograd.Function):
    """The identity, whose gradient is a constant in a second derivative, without a word."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.detach()


def test_second_derivatives_that_are_left_out_are_refused() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.last = mlp(8, classes=8), nn.Linear(8, 30)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(OnceDifferentiable.apply(self.body(x)))

    model = Net().eval()
    weight_fisher_forms(model, images())
    with pytest.raises(AdvdetectError, match="cannot be differentiated again"):
        approximate(model, images(), streams(3))


def test_quadratic_forms_are_exact_with_any_top() -> None:
    model, x = mlp(9, classes=40).double(), images(5).double()
    expected = weight_forms(model, x)
    for top in (1, 5):
        found = approximate(model, x, streams(5), top=top, tail_samples=1)
        torch.testing.assert_close(found[:, 1:], expected[:, 1:], rtol=1e-9, atol=0)


@pytest.mark.parametrize("top", [CLASSES - 1, CLASSES, 100])
def test_nothing_is_approximated_where_top_covers_all_classes(top: int) -> None:
    model, x = build("batch norm"), images()
    exact = torch.stack(list(weight_fisher_forms(model, x).linear().values()), dim=1)
    assert torch.equal(approximate(model, x, streams(3), top=top), exact)


def test_two_class_reduction_stays_exact() -> None:
    model, x = mlp(9, classes=40).double(), images().double()
    found = approximate(model, x, streams(3), classes="two")
    torch.testing.assert_close(found, weight_forms(model, x, two=True), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("top", "tail_samples"), [(1, 1), (3, 2), (20, 1)])
def test_trace_is_unbiased(top: int, tail_samples: int) -> None:
    model, image = mlp(9, classes=30).double(), images(1).double()
    copies = 4000
    recording = record_weight_gradients(model, image)
    x = image.expand(copies, -1, -1, -1)
    odds = log_odds(model(x))
    gram = torch.stack(list(recording.parameter_grams(odds.seeds[:, :1]).values())).sum(dim=0)
    expected = float((odds.scaled_q[0] * gram[0].diagonal()).sum())
    samples = mean_squared_norm(
        record_weight_gradients(model, x), odds, top, tail_samples, streams(copies)
    )
    standard_error = float(samples.std()) / math.sqrt(copies)
    assert standard_error > 0
    assert abs(float(samples.mean()) - expected) < 4 * standard_error


def test_more_seeds_than_are_held_at_once() -> None:
    model, x = mlp(9, classes=60).double(), images().double()
    found = approximate(model, x, streams(3), top=50, tail_samples=3)
    torch.testing.assert_close(found, weight_forms(model, x), rtol=0.02, atol=0)


@pytest.mark.parametrize("name", ["batch norm", "branching"])
@pytest.mark.filterwarnings("ignore:.*slower")
def test_results_do_not_depend_on_the_batch(name: str) -> None:
    model, x = build(name).double(), images(10).double()
    together = approximate(model, x, streams(10), top=1)
    generator = streams(10)
    parts = [
        approximate(model, x[rows], generator[rows], top=1)
        for rows in (slice(0, 4), slice(4, 8), slice(8, 10))
    ]
    torch.testing.assert_close(torch.cat(parts), together, rtol=1e-10, atol=0)
    assert not torch.equal(approximate(model, x, streams(10, seed=1), top=1), together)


@pytest.mark.parametrize("gap", [40.0, 700.0, 2000.0])
def test_certain_predictions_have_finite_values(gap: float) -> None:
    model, x = mlp(9, classes=40).double(), images().double()
    with torch.no_grad():
        model[-1].bias[1] += gap
    exact = weight_fisher_forms(model, x)
    found = weight_fisher_forms(model, x, approximation="top_k", generator=streams(3))
    torch.testing.assert_close(found.log10_trace, exact.log10_trace, rtol=0, atol=0.05)
    for name in ("log10_quadratic_form", "log10_normalized_form"):
        torch.testing.assert_close(vars(found)[name], vars(exact)[name], rtol=0, atol=1e-9)


def test_finite_differences_keep_the_sampled_trace() -> None:
    model, x = mlp(9, classes=20).double(), images(2).double()
    found = approximate(model, x, streams(2), derivative="finite_difference", top=3)
    exact = approximate(model, x, streams(2), top=3)
    assert torch.equal(found[:, 0], exact[:, 0])
    torch.testing.assert_close(found[:, 1:], exact[:, 1:], rtol=5e-3, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"approximation": "sampled"}, "none, top_k"),
        ({"approximation": "top_k"}, "generator"),
        ({"approximation": "top_k", "top": 0}, "at least 1"),
        ({"approximation": "top_k", "tail_samples": 0}, "at least 1"),
        ({"approximation": "top_k", "block": "tensor"}, "no block-diagonal form"),
    ],
)
def test_wrong_parameters_are_refused(options: dict, message: str) -> None:
    with pytest.raises(AdvdetectError, match=message):
        weight_fisher_forms(build("linear"), images(), **options)
