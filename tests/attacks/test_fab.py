"""FAB-T beside torchattacks' step for step, on linear models, and what it costs."""

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from attack_models import CLASSES, COUNT, make_linear_model
from penalty_cases import run
from torch import Tensor, nn

from advdetect.attacks.fab import fab
from advdetect.attacks.gradient import Norm
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError

ORDERS = {"l2": 2, "linf": torch.inf}


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch, model: nn.Module, images: Tensor) -> Iterator[None]:
    """Make the peer's own tensors float64, after those of the test."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("norm", "theirs"), [("l2", "L2"), ("linf", "Linf")])
def test_is_the_same_as_in_torchattacks(
    norm: Norm, theirs: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """The nearest of its runs towards each class."""
    torchattacks = pytest.importorskip("torchattacks", reason="needs its extra")
    model, images = model.double(), images.double()
    ours = run(partial(fab, norm=norm, steps=12), model, images, labels)
    peer = torchattacks.FAB(model, norm=theirs, steps=12, n_classes=CLASSES, multi_targeted=True)
    runs = []
    for peer.target_class in range(2, CLASSES + 1):
        runs.append(peer.attack_single_run_targeted(images, labels).detach())
    moved = torch.stack(runs) - images
    lengths = torch.linalg.vector_norm(moved.flatten(2), ORDERS[norm], dim=2)
    nearest = torch.where(lengths > 0, lengths, torch.inf).argmin(dim=0)
    expected = torch.stack(runs)[nearest, torch.arange(COUNT)]
    assert (nearest > 0).any() == (norm == "linf")  # in L2 the first class is always the nearest
    torch.testing.assert_close(ours.adversarial, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_of_a_linear_model_it_is_near_the_least(norm: Norm) -> None:
    model, difference, image = make_linear_model()
    result = run(partial(fab, norm=norm), model, image, torch.tensor([0]))
    assert result.success.all()
    least = 0.3 if norm == "l2" else float(0.3 * difference.norm() / difference.abs().sum())
    found = torch.linalg.vector_norm(result.adversarial - image, ORDERS[norm])
    assert least <= float(found) <= 1.01 * least  # it overshoots by η


def test_a_step_towards_a_class_is_two_forward_passes_and_a_backward_pass(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with counted_passes(model) as passes:
        result = run(partial(fab, steps=5), model, images, labels)
    there = torch.arange(COUNT) % 8 == 0
    assert (result.iterations[there] == 0).all()
    assert (result.iterations[~there] == 5 * (CLASSES - 1)).all()
    assert passes.backward == result.iterations.sum()
    assert passes.forward == COUNT + 2 * result.iterations.sum()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"norm": "l1"}, "norm of an attack must be l2 or linf, not 'l1'"),
        ({"steps": 0}, "steps of an attack must be at least 1, not 0"),
        ({"target_classes": 0}, "target_classes of fab must be at least 1, not 0"),
        ({"alpha_max": 1.5}, r"alpha_max of fab must be in \[0, 1\].*not 1.5, 1.05 and 0.9"),
        ({"eta": 0.9}, "its eta at least 1"),
        ({"beta": 1.0}, "its beta in"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        run(partial(fab, **parameters), model, images, labels)
