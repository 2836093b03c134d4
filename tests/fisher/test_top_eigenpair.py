import copy
import math

import pytest
import torch
from explicit_fisher import input_matrix
from fisher_models import build, images, linear_model, mlp
from torch import Tensor, nn

from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.fisher import top_eigenpair as module
from advdetect.fisher.alias import draw_classes
from advdetect.fisher.factors import sampled_factor
from advdetect.fisher.input import top_eigenvector
from advdetect.fisher.top_eigenpair import TopEigenpair, top_eigenpair
from advdetect.randomness import SampleGenerator

#: Those that find the eigenpair of G itself, without forming it.
ITERATIVE = ["lanczos", "power", "class_lanczos"]
SAMPLED = ["alias_lanczos", "alias_power"]
each_iterative = pytest.mark.parametrize("method", ITERATIVE)
each_sampled = pytest.mark.parametrize("method", SAMPLED)
each_method = pytest.mark.parametrize("method", ["exact", *ITERATIVE, *SAMPLED])


def find(model: nn.Module, x: Tensor, method: str, **parameters) -> TopEigenpair:
    generator = SampleGenerator(0, range(len(x)))
    return top_eigenpair(model, x, method=method, generator=generator, **parameters)


def cosines(vectors: Tensor, others: Tensor) -> Tensor:
    return (vectors.flatten(1).double() * others.flatten(1).double()).sum(dim=1).abs()


MODELS = {
    **{
        name: lambda name=name: build(name)
        for name in ("convolution", "in-place ReLU first", "batch norm", "transformer", "recurrent")
    },
    **{f"{c} classes": lambda c=c: mlp(40, classes=c) for c in (2, 3, 10, 200)},
}


@pytest.mark.parametrize("method", ["exact", *ITERATIVE])
@pytest.mark.parametrize("name", MODELS)
def test_agrees_with_the_explicit_matrix(name: str, method: str) -> None:
    model, x = MODELS[name]().double(), images(5).double()
    found = find(model, x, method, iterations=2000, tolerance=1e-8)
    values, vectors = torch.linalg.eigh(input_matrix(model, x))
    torch.testing.assert_close(10**found.log10_value, values[:, -1], rtol=1e-9, atol=0)
    torch.testing.assert_close(
        cosines(found.vector, vectors[:, :, -1]), torch.ones(5).double(), rtol=0, atol=1e-9
    )
    torch.testing.assert_close(found.vector.flatten(1).norm(dim=1), torch.ones(5).double())


@each_iterative
@pytest.mark.parametrize("name", ["batch norm", "200 classes"])
def test_defaults_in_float32_are_within_what_the_tolerance_promises(name: str, method: str) -> None:
    model, x = MODELS[name](), images(6)
    found = find(model, x, method)
    assert found.vector.dtype == torch.float32
    values, vectors = torch.linalg.eigh(input_matrix(model, x))
    gap = 1 - values[:, -2] / values[:, -1]
    assert ((10**found.log10_value / values[:, -1] - 1).abs() < 1e-5 + 1e-6 / gap).all()
    assert (1 - cosines(found.vector, vectors[:, :, -1]) < (1e-3 / gap).square()).all()


@each_sampled
@pytest.mark.parametrize("classes", [3, 10, 200])
def test_alias_methods_find_the_eigenpair_of_the_drawn_classes(classes: int, method: str) -> None:
    model, x = mlp(40, classes=classes).double(), images(6).double()
    count = -(-classes // 5)
    with counted_passes(model) as passes:
        found = find(model, x, method, iterations=5000, tolerance=1e-9)
    with torch.no_grad():
        p = model(x).softmax(dim=1)
    drawn = draw_classes(p, count, SampleGenerator(0, range(6)))
    for row in range(6):
        variable = x[row].clone().requires_grad_()
        log_p = model(variable[None])[0].log_softmax(dim=0)
        gradients = torch.stack(
            [
                torch.autograd.grad(log_p[c], variable, retain_graph=True)[0].flatten()
                for c in drawn[row].tolist()
            ]
        )
        values, vectors = torch.linalg.eigh(gradients.T @ gradients / count)
        assert float(10 ** found.log10_value[row]) == pytest.approx(float(values[-1]), rel=1e-8)
        assert cosines(found.vector[row : row + 1], vectors[None, :, -1]) > 1 - 1e-8
    # A pass for each class that is drawn, as many as the image has that drew most.
    assert passes.backward == 6 * max(len(set(row)) for row in drawn.tolist())


def test_matrix_of_drawn_classes_is_unbiased() -> None:
    model, x = mlp(40, classes=8, seed=1).double(), images(1).double()
    count = 4000
    factor = sampled_factor(model, x.expand(count, -1, -1, -1), 3, SampleGenerator(0, range(count)))
    direction = torch.randn(5, 72, generator=torch.Generator().manual_seed(0)).double()
    direction = torch.cat([direction, top_eigenvector(model, x)[0].flatten(1)])
    forms = torch.stack(
        [factor.forward(v.expand(count, -1)).square().sum(dim=1) for v in direction], dim=1
    )
    forms = forms * factor.log_scale.exp()[:, None]
    expected = (direction @ input_matrix(model, x)[0] * direction).sum(dim=1)
    deviation = (forms.mean(dim=0) - expected) / (forms.std(dim=0) / count**0.5)
    assert (deviation.abs() < 3.5).all()
    assert (forms.std(dim=0) > 0.1 * expected).all()


@each_method
def test_results_do_not_depend_on_the_batch(method: str) -> None:
    model, x = mlp(40, classes=30), images(24)
    together = find(model, x, method)
    for row in range(24):
        alone = top_eigenpair(
            model, x[row : row + 1], method=method, generator=SampleGenerator(0, [row])
        )
        torch.testing.assert_close(
            alone.log10_value[0], together.log10_value[row], rtol=0, atol=1e-5
        )
        assert cosines(alone.vector, together.vector[row : row + 1]) > 1 - 1e-6


@each_method
def test_few_images_at_a_time_give_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = mlp(40, classes=10), images(7)
    expected = find(model, x, method)
    monkeypatch.setattr(module, "_ENTRIES", 2 * 10 * 72)
    found = find(model, x, method)
    torch.testing.assert_close(found.log10_value, expected.log10_value, rtol=0, atol=1e-5)
    assert (cosines(found.vector, expected.vector) > 1 - 1e-6).all()


# q is e^-gap / (1 + 4 e^-gap) for each of four classes: the top eigenvalue is 5 q p_y.
@pytest.mark.parametrize("gap", [9.0, 20.0, 40.0, 100.0, 500.0, 1000.0])
@pytest.mark.parametrize("method", ["exact", *ITERATIVE, *SAMPLED])
def test_saturated_softmax(method: str, gap: float) -> None:
    model = linear_model(torch.eye(5, 72), torch.tensor([-gap, -gap, 0.0, -gap, -gap]))
    found = find(model, torch.zeros(1, 2, 6, 6), method, draws=2)
    expected = torch.zeros(1, 72)
    expected[0, :5] = torch.tensor([0.25, 0.25, -1, 0.25, 0.25]) / math.sqrt(1.25)
    assert cosines(found.vector, expected) > 1 - 1e-6
    log_q, log_p = -gap - math.log1p(4 * math.exp(-gap)), -math.log1p(4 * math.exp(-gap))
    value = math.log(5) + log_q + log_p
    if method in SAMPLED:  # only y is drawn: |∇log p_y|² = 20 q², not E|∇log p_c|²
        value = math.log(20) + 2 * log_q
    assert float(found.log10_value) == pytest.approx(value / math.log(10), abs=1e-5)


@each_method
@pytest.mark.parametrize("scale", [1e-15, 1e-25, 1e-36])
def test_small_gradients_are_not_lost_in_float32(method: str, scale: float) -> None:
    model, x = mlp(40, classes=5), images(3)
    expected = find(model, x, method)
    small = nn.Sequential(Shrink(scale), *model).eval()
    found = find(small, x, method)
    difference = found.log10_value - expected.log10_value - 2 * math.log10(scale)
    assert (difference.abs() < 1e-3).all()
    assert (cosines(found.vector, expected.vector) > 1 - 1e-5).all()


class Shrink(nn.Module):
    """The identity, with a gradient that is scale times that of the identity."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x.detach() + self.scale * (x - x.detach())


class Rounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.detach() > 0.5).float().flatten(1)[:, :3]


@each_method
def test_no_gradient_gives_a_zero_vector_and_a_finite_floor(method: str) -> None:
    for model in (linear_model(torch.zeros(3, 72)), Rounded().eval()):
        found = find(model, images(2), method)
        assert torch.equal(found.vector, torch.zeros(2, 2, 6, 6))
        assert torch.isfinite(found.log10_value).all()
        assert (found.log10_value < -70).all()


class Once(torch.autograd.Function):
    @staticmethod
    def forward(_ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(_ctx, gradient: Tensor) -> Tensor:
        return gradient.clone()


@each_method
def test_operation_without_a_second_derivative(method: str) -> None:
    class OnceDifferentiable(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(Once.apply(x))

    model = OnceDifferentiable(*mlp(40, classes=5)).eval()
    if method in ITERATIVE:
        with pytest.raises(AdvdetectError, match="the method exact"):
            find(model, images(1), method)
    else:
        assert find(model, images(1), method).vector.any()


@each_method
def test_model_and_images_are_left_as_found(method: str) -> None:
    model, x = build("partly frozen"), images() - 0.5
    state, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    before = x.clone()
    with torch.no_grad():
        found = find(model, x, method)
    assert not found.vector.requires_grad
    assert torch.equal(x, before)
    assert not x.requires_grad
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())


class RootAtZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.detach()).sqrt().flatten(1)[:, :3]


@each_method
def test_impossible_models_are_refused(method: str) -> None:
    with pytest.raises(AdvdetectError, match=r"model\.eval"):
        find(build("batch norm").train(), images(), method)
    with pytest.raises(AdvdetectError, match="not finite"):
        find(RootAtZero().eval(), images(), method)
    with pytest.raises(AdvdetectError, match="at least 2 classes"):
        find(linear_model(torch.eye(1, 72)), images(), method)
    with pytest.raises(AdvdetectError, match="at least 2 classes"):
        find(nn.Flatten(0).eval(), images(), method)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"method": "qr"}, "one of auto, exact, lanczos"),
        ({"iterations": 0}, "at least 1"),
        ({"draws": 0}, "at least 1"),
        ({"tolerance": 0}, "greater than 0"),
        ({"tolerance": math.nan}, "greater than 0"),
    ],
)
def test_impossible_parameters_are_refused(parameters: dict, message: str) -> None:
    with pytest.raises(AdvdetectError, match=message):
        find(build("batch norm"), images(), **{"method": "lanczos", **parameters})
