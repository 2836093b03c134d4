import copy
import math
import warnings
from collections.abc import Callable
from itertools import starmap

import pytest
import torch
from explicit_fisher import log_probabilities
from fisher_models import (
    CLASSES,
    LAYERS,
    STRUCTURES,
    build,
    head,
    images,
    linear_model,
    mlp,
)
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advdetect.errors import AdvdetectError
from advdetect.fisher.sensitivity import fisher_sensitivity

#: Whose second derivatives the layer rules cannot have: a warning.
NORMALIZING = {"instance norm"}


def linear(model: nn.Module, x: Tensor, **options: str | float | bool) -> Tensor:
    return fisher_sensitivity(model, x, **options).linear()


def slopes(
    model: nn.Module, image: Tensor, v: list[Tensor] | None, two: bool, create_graph: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return v·∇_θ p_c, v·∇_θ log p_c, and ∇_θ log p_ŷ, by autograd."""
    parameters = list(model.parameters())
    log_p = log_probabilities(model, image, two)
    rows = [
        torch.autograd.grad(
            value, parameters, create_graph=create_graph, retain_graph=True, materialize_grads=True
        )
        for value in log_p
    ]
    own = [part.detach() for part in rows[0 if two else int(log_p.argmax())]]
    direction = own if v is None else v
    products = [[(g * w).sum() for g, w in zip(row, direction, strict=True)] for row in rows]
    u = torch.stack([torch.stack(parts).sum() for parts in products])
    return log_p.exp() * u, u, own


def by_autograd(model: nn.Module, x: Tensor, two: bool = False, unit: bool = False) -> Tensor:
    """Return equation (13), literally, by second derivatives of autograd in float64."""
    model = copy.deepcopy(model).double().requires_grad_(True)
    maps = []
    with sdpa_kernel(SDPBackend.MATH):
        for image in x.double():
            variable = image.clone().requires_grad_()
            *sides, own = slopes(model, variable, None, two, create_graph=True)
            gradients = [
                torch.stack(
                    [
                        torch.autograd.grad(
                            value, variable, retain_graph=True, materialize_grads=True
                        )[0]
                        for value in side
                    ]
                )
                for side in sides
            ]
            squared_length = sum(part.square().sum() for part in own) if unit else 1
            maps.append((gradients[0] * gradients[1]).sum(dim=0) / squared_length)
    return torch.stack(maps)


def by_differences(model: nn.Module, x: Tensor, two: bool, step: float = 1e-5) -> Tensor:
    """Return equation (13) with differences between images in place of second derivatives."""
    maps = []
    for image in x:
        v = slopes(model, image, None, two, create_graph=False)[2]

        def change(
            offset: Tensor, image: Tensor = image, v: list[Tensor] = v
        ) -> tuple[Tensor, Tensor]:
            ahead = slopes(model, image + offset, v, two, create_graph=False)
            behind = slopes(model, image - offset, v, two, create_graph=False)
            p, log_p = ((a - b) / (2 * step) for a, b in zip(ahead[:2], behind[:2], strict=True))
            return p, log_p

        offsets = step * torch.eye(image.numel(), dtype=image.dtype).view(-1, *image.shape)
        changes = [change(offset) for offset in offsets]
        maps.append(torch.stack(list(starmap(torch.dot, changes))).view_as(image))
    return torch.stack(maps)


def assert_close_maps(found: Tensor, expected: Tensor, tolerance: float) -> None:
    error = (found - expected).flatten(1).abs().amax(dim=1)
    assert (error <= tolerance * expected.flatten(1).abs().amax(dim=1)).all()


def networks() -> dict[str, Callable[[], nn.Module]]:
    return {
        "softplus": lambda: head(
            nn.Conv2d(2, 4, 3), nn.Softplus(beta=3), nn.Conv2d(4, 3, 2, stride=2), nn.Tanh()
        ),
        "hard sigmoid": lambda: head(nn.Conv2d(2, 3, 3), nn.Hardsigmoid(), nn.Conv2d(3, 3, 2)),
        "hard sigmoid in place": lambda: head(nn.Linear(6, 4), nn.Hardsigmoid(inplace=True)),
        "multilayer tanh": lambda: mlp(9, classes=5),
        "ReLU": lambda: head(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU()),
    }


@pytest.mark.parametrize("name", networks())
@pytest.mark.parametrize("two", [False, True])
def test_agrees_with_finite_differences(name: str, two: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = networks()[name]().double().eval()
    x = images(2).double()
    expected = by_differences(model, x, two)
    assert_close_maps(linear(model, x, classes="two" if two else "all"), expected, 1e-6)


@pytest.mark.filterwarnings("ignore:Using padding='same'", "ignore:.*slower")
@pytest.mark.parametrize("name", [*LAYERS, *STRUCTURES])
@pytest.mark.parametrize("two", [False, True])
def test_agrees_with_definition(name: str, two: bool) -> None:
    model, x, classes = build(name), images(2), "two" if two else "all"
    expected = by_autograd(model, x, two)
    double = copy.deepcopy(model).double()
    assert_close_maps(linear(double, x.double(), classes=classes), expected, 1e-11)
    assert_close_maps(linear(model, x, classes=classes), expected, 1e-3)


@pytest.mark.parametrize("name", ["convolution", "batch norm", "shared convolution", "group norm"])
def test_layer_rules_apply_without_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fisher_sensitivity(build(name), images())


@pytest.mark.parametrize("name", [*sorted(NORMALIZING), "tied"])
def test_models_that_are_not_covered_warn_once(name: str) -> None:
    model, x = build(name), images()
    with pytest.warns(UserWarning, match="which is slower") as record:
        fisher_sensitivity(model, x)
    assert len(record) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fisher_sensitivity(model, x)


def test_two_classes_have_a_closed_form_and_are_the_whole() -> None:
    # One linear layer with bias: m = w·x + b, ∇_θ m·∇_θ m' = 2 (x·x' + 1), ∂_i m = w_i.
    weight = torch.linspace(-1, 1, 72)
    model = linear_model(torch.stack([weight, 0 * weight]), torch.tensor([0.3, 0.0])).double()
    x = images(5).double()
    m = model(x)[:, 0] - model(x)[:, 1]
    sign = torch.where(m > 0, 1.0, -1.0)[:, None].double()
    p = m.abs().sigmoid()[:, None]
    r, flat = 1 - p, x.flatten(1)
    a = 2 * r * (flat.square().sum(1, keepdim=True) + 1)
    a_gradient = 2 * r * flat
    m_gradient = sign * weight.double()
    expected = p * r * ((r - p) * m_gradient * a + a_gradient) * a_gradient
    for classes in ("all", "two"):
        assert_close_maps(linear(model, x, classes=classes).flatten(1), expected, 1e-12)


def test_logit_shift_and_class_order_change_nothing() -> None:
    model, x = mlp(9, classes=5).double(), images().double()
    shifted, permuted = copy.deepcopy(model), copy.deepcopy(model)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        shifted[-1].weight += torch.linspace(-1, 1, 9)
        permuted[-1].weight.copy_(model[-1].weight[order])
        permuted[-1].bias.copy_(model[-1].bias[order])
    for other in (shifted, permuted):
        assert_close_maps(linear(other, x), linear(model, x), 1e-10)


def test_learning_rate_and_unit_direction_scale_the_map() -> None:
    model, x = mlp(9, classes=5).double(), images().double()
    plain = fisher_sensitivity(model, x)
    tenth = fisher_sensitivity(model, x, learning_rate=0.1)
    unit = fisher_sensitivity(model, x, learning_rate=0.1, unit_direction=True)
    torch.testing.assert_close(tenth.log10_peak, plain.log10_peak - 2)
    for other in (tenth, unit):
        torch.testing.assert_close(other.relative, plain.relative, rtol=0, atol=0)
    assert_close_maps(unit.linear(), by_autograd(model, x, unit=True), 1e-11)


def certain(gap: float) -> nn.Module:
    model = mlp(9, classes=5).double()
    with torch.no_grad():
        model[-1].bias[1] += gap
    return model


@pytest.mark.parametrize("classes", ["all", "two"])
def test_certain_predictions_keep_their_precision(classes: str) -> None:
    x = images().double()
    expected = by_autograd(certain(20), x, two=classes == "two")  # good to 1e-9 itself
    assert_close_maps(linear(certain(20), x, classes=classes), expected, 1e-8)


@pytest.mark.parametrize("classes", ["all", "two"])
@pytest.mark.parametrize("gap", [300.0, 2000.0])
def test_certain_predictions_have_a_finite_map(classes: str, gap: float) -> None:
    x = images().double()
    at_40 = fisher_sensitivity(certain(40), x, classes=classes)
    found = fisher_sensitivity(certain(gap), x, classes=classes)
    # q falls by exp(40 − gap), and the map, made of q³, by its cube; nothing else changes.
    assert_close_maps(found.relative, at_40.relative, 1e-9)
    torch.testing.assert_close(
        found.log10_peak, at_40.log10_peak - 3 * (gap - 40) / math.log(10), rtol=0, atol=1e-9
    )


def test_values_have_both_signs_and_a_peak_of_one() -> None:
    found = fisher_sensitivity(build("in-place ReLU"), images())
    assert found.relative.dtype == found.log10_peak.dtype == torch.float64
    assert found.relative.shape == images().shape
    torch.testing.assert_close(
        found.relative.flatten(1).abs().amax(dim=1), torch.ones(3, dtype=torch.float64)
    )
    assert (found.relative < 0).any()


def test_model_that_ignores_the_image_has_a_map_of_zeros() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Hardtanh(5, 6), nn.Linear(72, CLASSES)).eval()
    found = fisher_sensitivity(model, images())
    assert (found.relative == 0).all()
    assert torch.isfinite(found.log10_peak).all()


@pytest.mark.parametrize("name", ["batch norm", "shared convolution", "layer norm", "branching"])
@pytest.mark.filterwarnings("ignore:.*slower")
def test_results_do_not_depend_on_the_batch(name: str) -> None:
    model, x = build(name).double(), images(9).double()
    together = linear(model, x)
    assert_close_maps(torch.cat([linear(model, part) for part in x.split(4)]), together, 1e-10)
    assert_close_maps(torch.cat([linear(model, image[None]) for image in x]), together, 1e-10)


@pytest.mark.parametrize("name", ["in-place ReLU first", "partly frozen", "layer norm", "tied"])
@pytest.mark.filterwarnings("ignore:.*slower")
def test_model_and_images_are_left_as_found(name: str) -> None:
    model, x = build(name), images() - 0.5 if "ReLU" in name else images()
    state, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    before = x.clone()
    with torch.no_grad():
        fisher_sensitivity(model, x)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"classes": "three"}, "all, two"), ({"learning_rate": 0.0}, "greater than 0")],
)
def test_wrong_parameters_are_refused(options: dict, message: str) -> None:
    with pytest.raises(AdvdetectError, match=message):
        fisher_sensitivity(build("linear"), images(), **options)


def test_training_mode_is_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        fisher_sensitivity(build("batch norm").train(), images())
