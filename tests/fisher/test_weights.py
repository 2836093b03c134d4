import copy
import gc
import math
import warnings
import weakref

import pytest
import torch
from explicit_fisher import log_probabilities, weight_forms, weight_gradients
from fisher_models import CLASSES, LAYERS, STRUCTURES, OverwrittenInput, batch_norm, build, images
from precise_softmax import linear_layer_forms
from torch import Tensor, nn
from torch.nn import functional

from advdetect.errors import AdvdetectError
from advdetect.fisher import weight_gradients as choosing
from advdetect.fisher.capture import LayerRecording
from advdetect.fisher.weights import weight_fisher_forms

FALLBACKS = ["tied", "branching"]


def forms(model: nn.Module, x: Tensor, **options: str | float) -> Tensor:
    """Return the quantities of weight_fisher_forms as (N, 3) plain numbers."""
    return torch.stack(list(weight_fisher_forms(model, x, **options).linear().values()), dim=1)


def flat_net(*sizes: int) -> nn.Module:
    """Return a float64 network without max pooling or ReLU."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in zip((72, *sizes[:-1]), sizes, strict=True):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1]).double().eval()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("block", ["none", "tensor"])
def test_layers_agree_with_definition(name: str, block: str) -> None:
    model, x = build(name), images()
    expected = weight_forms(model, x, per_tensor=block == "tensor")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*slower")
        found = forms(model, x, block=block)
        double = forms(copy.deepcopy(model).double(), x.double(), block=block)
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=0)
    torch.testing.assert_close(double, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", STRUCTURES)
def test_other_structures_agree_with_definition_and_warn_once(name: str) -> None:
    model, x = build(name), images()
    with pytest.warns(UserWarning, match="which is slower") as record:
        found = forms(model, x)
    assert len(record) == 1
    torch.testing.assert_close(found, weight_forms(model, x), rtol=2e-5, atol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = forms(model, x)
    torch.testing.assert_close(again, found, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*slower")
def test_gradients_that_cannot_be_had_are_an_error_and_not_a_number() -> None:
    with pytest.raises(RuntimeError, match="inplace operation"):
        weight_fisher_forms(OverwrittenInput().eval(), images())


@pytest.mark.parametrize("name", ["in-place ReLU", "shared convolution", "layer norm", *FALLBACKS])
@pytest.mark.parametrize("block", ["none", "tensor"])
@pytest.mark.filterwarnings("ignore:.*slower")
def test_two_class_reduction_agrees_with_definition(name: str, block: str) -> None:
    model, x = build(name), images()
    expected = weight_forms(model, x, two=True, per_tensor=block == "tensor")
    torch.testing.assert_close(
        forms(model, x, classes="two", block=block), expected, rtol=2e-5, atol=0
    )


@pytest.mark.parametrize("block", ["none", "tensor"])
def test_many_classes_in_parts_agree_with_definition(block: str) -> None:
    model, x = flat_net(9, 40), images().double()
    expected = weight_forms(model, x, per_tensor=block == "tensor")
    torch.testing.assert_close(forms(model, x, block=block), expected, rtol=1e-10, atol=0)


def test_learning_rate_scales_the_quadratic_form_alone() -> None:
    model, x = flat_net(9, 5), images().double()
    found, expected = forms(model, x, learning_rate=0.1), weight_forms(model, x, rate=0.1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("sizes", [(9, 5), (9, 2)])
def test_relations_between_the_quantities(sizes: tuple[int, ...]) -> None:
    model, x = flat_net(*sizes), images(20).double()
    full, two = forms(model, x), forms(model, x, classes="two")
    close = {"rtol": 1e-10, "atol": 0}
    torch.testing.assert_close(two[:, 2], two[:, 0], **close)  # F has rank one
    slack = 1 + 1e-10
    assert (two[:, 0] <= full[:, 0] * slack).all()
    assert (full[:, 2] <= full[:, 0] * slack).all()
    if sizes[-1] == 2:
        torch.testing.assert_close(two, full, **close)
    # A block-diagonal matrix has the trace of the whole.
    torch.testing.assert_close(forms(model, x, block="tensor")[:, 0], full[:, 0], **close)


def test_trace_is_the_sum_of_the_eigenvalues_of_the_explicit_matrix() -> None:
    model, x = flat_net(3, 4), images(2).double()
    for image, trace in zip(x, forms(model, x)[:, 0], strict=True):
        rows = torch.cat(weight_gradients(model, image), dim=1)
        p = log_probabilities(model, image).exp().detach()
        eigenvalues = torch.linalg.eigvalsh(rows.T @ (p[:, None] * rows))
        assert (eigenvalues[:-3].abs() < 1e-12 * eigenvalues[-1]).all()  # rank at most C - 1
        torch.testing.assert_close(eigenvalues.sum(), trace, rtol=1e-10, atol=0)


@pytest.mark.parametrize("gap", [0.5, 40.0, 100.0, 500.0, 1000.0])
def test_single_layer_with_logits_far_apart(gap: float) -> None:
    logits = [-gap, 0.0, -2 * gap]
    layer = nn.Linear(72, 3)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(logits))
    x = torch.full((1, 2, 6, 6), 0.5)
    found = weight_fisher_forms(nn.Sequential(nn.Flatten(), layer).eval(), x)
    expected = linear_layer_forms(logits, squared_input=72 * 0.25)
    assert [float(v) for v in vars(found).values()] == pytest.approx(expected, rel=1e-9, abs=1e-7)


def test_plain_values_have_their_names() -> None:
    found = weight_fisher_forms(build("linear"), images())
    plain = found.linear()
    assert list(plain) == ["trace", "quadratic_form", "normalized_form"]
    torch.testing.assert_close(plain["quadratic_form"].log10(), found.log10_quadratic_form)


def test_last_layer_alone_has_the_trace_of_a_softmax() -> None:
    # Everything else is frozen by being outside theta: the last layer is the only one.
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(72, 6)).double().eval()
    x = images(8).double()
    p = model(x).softmax(1)
    expected = (x.flatten(1).square().sum(1) + 1) * (1 - p.square().sum(1))
    torch.testing.assert_close(forms(model, x)[:, 0], expected, rtol=1e-10, atol=0)


def test_logit_shift_and_class_order_change_nothing() -> None:
    model, x = flat_net(9, 5), images(4).double()
    shifted, permuted = copy.deepcopy(model), copy.deepcopy(model)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        shifted[-1].weight += torch.linspace(-1, 1, 9)
        permuted[-1].weight.copy_(model[-1].weight[order])
        permuted[-1].bias.copy_(model[-1].bias[order])
    for other in (shifted, permuted):
        torch.testing.assert_close(forms(other, x), forms(model, x), rtol=1e-9, atol=0)


def test_folding_batch_norm_changes_the_weight_fisher() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, norm, last = nn.Linear(72, 9), batch_norm(nn.BatchNorm1d, 9), nn.Linear(9, CLASSES)
    model = nn.Sequential(nn.Flatten(), layer, norm, nn.Tanh(), last).double().eval()
    folded_layer = torch.nn.utils.fusion.fuse_linear_bn_eval(layer, norm)
    folded = nn.Sequential(nn.Flatten(), folded_layer, nn.Tanh(), last).eval()
    x = images().double()
    assert (forms(model, x)[:, 0] / forms(folded, x)[:, 0] - 1).abs().min() > 0.01


@torch.no_grad()
def moved_log_probabilities(
    model: nn.Module, image: Tensor, direction: list[Tensor], step: float
) -> Tensor:
    moved = copy.deepcopy(model)
    for parameter, part in zip(moved.parameters(), direction, strict=True):
        parameter += step * part.view_as(parameter)
    return log_probabilities(moved, image)


def finite_difference_definition(model: nn.Module, image: Tensor, step: float) -> Tensor:
    """Return quadratic and normalised form from equation (9), literally."""
    p = log_probabilities(model, image).exp().detach()
    v = [part[int(p.argmax())] for part in weight_gradients(model, image)]
    length = torch.cat(v).norm()
    moved = moved_log_probabilities(model, image, [part / length for part in v], step)
    slopes = (moved - p.log()) / step
    normalized = (p * slopes.square()).sum()
    return torch.stack([length**2 * normalized, normalized])


def test_finite_differences_agree_with_their_definition() -> None:
    model, x = flat_net(9, 5), images(4).double()
    found = forms(model, x, derivative="finite_difference", step=1e-3)
    expected = torch.stack([finite_difference_definition(model, image, 1e-3) for image in x])
    torch.testing.assert_close(found[:, 1:], expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(found[:, 0], forms(model, x)[:, 0], rtol=0, atol=0)


@pytest.mark.parametrize("options", [{}, {"classes": "two"}, {"block": "tensor"}])
@pytest.mark.parametrize("name", ["in-place ReLU first", "batch norm", "partly frozen"])
def test_finite_differences_converge_to_the_exact_forms(name: str, options: dict[str, str]) -> None:
    model, x = build(name), images()
    exact = forms(model, x, **options)
    found = forms(model, x, derivative="finite_difference", **options)
    torch.testing.assert_close(found, exact, rtol=5e-3, atol=0)


@pytest.mark.parametrize("gap", [40.0, 1000.0, 3000.0])
def test_finite_differences_for_confident_predictions(gap: float) -> None:
    model, x = build("linear"), images()
    with torch.no_grad():
        model[-1].bias[1] += gap
    exact = weight_fisher_forms(model, x)
    found = weight_fisher_forms(model, x, derivative="finite_difference")
    for name, value in vars(exact).items():
        torch.testing.assert_close(vars(found)[name], value, rtol=0, atol=2e-3)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(72, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(self.unused(x.flatten(1)))


@pytest.mark.parametrize("classes", ["all", "two"])
@pytest.mark.parametrize("derivative", ["exact", "finite_difference"])
def test_zero_gradient_gives_a_finite_floor(classes: str, derivative: str) -> None:
    found = weight_fisher_forms(Constant().eval(), images(), classes=classes, derivative=derivative)
    largest_q = 0.25 if classes == "all" else 0.75
    square = -252 * math.log10(2)
    expected = [square + math.log10(largest_q), 2 * square + 3 * math.log10(largest_q)]
    assert found.log10_trace.tolist() == pytest.approx([expected[0]] * 3)
    assert found.log10_quadratic_form.tolist() == pytest.approx([expected[1]] * 3)
    assert found.log10_normalized_form.tolist() == pytest.approx([expected[0]] * 3)


@pytest.mark.parametrize("name", ["batch norm", "shared convolution", "layer norm", *FALLBACKS])
@pytest.mark.filterwarnings("ignore:.*slower")
def test_results_do_not_depend_on_the_batch(name: str) -> None:
    model, x = build(name), images(64)
    together = forms(model, x)
    alone = torch.cat([forms(model, image[None]) for image in x])
    sevens = torch.cat([forms(model, part) for part in x.split(7)])
    torch.testing.assert_close(alone, together, rtol=2e-5, atol=0)
    torch.testing.assert_close(sevens, together, rtol=2e-5, atol=0)


@pytest.mark.parametrize(
    "name", ["in-place ReLU first", "partly frozen", "unused", "recurrent", *FALLBACKS]
)
@pytest.mark.parametrize("derivative", ["exact", "finite_difference"])
@pytest.mark.filterwarnings("ignore:.*slower")
def test_model_and_images_are_left_as_found(name: str, derivative: str) -> None:
    model, x = build(name), images() - 0.5 if "ReLU" in name else images()
    state, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    before, logits = x.clone(), model(x.clone())
    with torch.no_grad():
        weight_fisher_forms(model, x, derivative=derivative)
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m.training for m in model.modules())
    torch.testing.assert_close(copy.deepcopy(model)(before.clone()), logits, rtol=0, atol=0)


def test_model_that_changes_is_checked_again() -> None:
    model, x = build("linear"), images()
    forms(model, x)
    tied = nn.Linear(8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model[0].append(tied)
        model[0].append(nn.Sequential(nn.Tanh(), tied))
    torch.testing.assert_close(forms(model, x), weight_forms(model, x), rtol=2e-5, atol=0)
    model[0].append(nn.Linear(8, 8))
    model[0][-1].weight = tied.weight
    with pytest.warns(UserWarning, match="share a parameter"):
        found = forms(model, x)
    torch.testing.assert_close(found, weight_forms(model, x), rtol=2e-5, atol=0)


class Switching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(72, 8), nn.Linear(8, CLASSES)
        self.called = True

    def forward(self, x: Tensor) -> Tensor:
        x, weight = x.flatten(1), self.first.weight
        return self.last(torch.tanh(self.first(x) if self.called else functional.linear(x, weight)))


def test_model_that_works_otherwise_is_checked_again() -> None:
    model, x = Switching().eval(), images()
    forms(model, x)
    model.called = False
    with pytest.warns(UserWarning, match=r"first\.weight disagrees"):
        found = forms(model, x)
    torch.testing.assert_close(found, weight_forms(model, x), rtol=2e-5, atol=0)


class NearCorners(nn.Module):
    """Units as near to ReLU's corner as float32 rounds, which is otherwise in a larger batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(72, 8), nn.Linear(8, CLASSES)
        nn.init.zeros_(self.first.weight)
        nn.init.constant_(self.first.bias, 1e-10)

    def forward(self, x: Tensor) -> Tensor:
        rounding = torch.finfo(x.dtype).eps * (1.5 - len(x))
        return self.last(torch.relu(self.first(x.flatten(1)) + rounding))


def test_units_near_a_corner_are_no_disagreement() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = choosing.record_weight_gradients(NearCorners().eval(), images(2))
    assert isinstance(recording, LayerRecording)


def test_no_reference_to_a_model_is_kept() -> None:
    model = build("linear")
    forms(model, images())
    assert model in choosing._CHOICES
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "three"}, "all, two"),
        ({"derivative": "numeric"}, "exact, finite_difference"),
        ({"block": "layer"}, "none, tensor"),
        ({"learning_rate": 0.0}, "greater than 0"),
        ({"step": -1e-4}, "greater than 0"),
    ],
)
def test_wrong_parameters_are_refused(options: dict, message: str) -> None:
    with pytest.raises(AdvdetectError, match=message):
        weight_fisher_forms(build("linear"), images(), **options)


def test_model_without_parameters_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="no parameters"):
        weight_fisher_forms(nn.Flatten().eval(), images())


def test_training_mode_is_refused() -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        weight_fisher_forms(build("batch norm").train(), images())


def test_gradient_that_is_not_finite_is_refused() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(72, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last((self.first(x.flatten(1)) * 0).sqrt())

    with (
        pytest.warns(UserWarning, match="slower"),
        pytest.raises(AdvdetectError, match="weights is not finite"),
    ):
        weight_fisher_forms(Root().eval(), images())
