"""PGD and APGD are those of torchattacks, from the same starts, in float64.

APGD there is the authors' code. It compares the first loss after the start with zero, ours with the
loss at the start; and of a run's points it returns one that fools apart from that of the largest
loss. The images on which neither makes a difference are compared. DLR has kinks, between which L2
steps amplify the 1e-12 that the peer adds to lengths: it is compared in L∞.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advdetect.attacks.apgd import apgd
from advdetect.attacks.gradient import Norm, ascend, input_gradient
from advdetect.attacks.losses import loss_named, targeted_difference_of_logits_ratio
from advdetect.attacks.pgd import pgd
from advdetect.attacks.starts import random_start

torchattacks = pytest.importorskip("torchattacks", reason="needs pip install -e '.[torchattacks]'")

RADIUS = {"l2": 0.5, "linf": 0.0625}


class Drawn:
    """Streams that hold what the peer draws."""

    def __init__(self, **tensors: Tensor) -> None:
        self._tensors = tensors

    def uniform(self, *_shape: int) -> Tensor:
        return self._tensors["uniform"]

    def normal(self, *_shape: int) -> Tensor:
        return self._tensors["normal"]


@pytest.fixture
def float64(model: nn.Module, images: Tensor, labels: Tensor) -> Iterator[None]:
    """Make the peer's own tensors float64, after those of the test, and keep the random state."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    with torch.random.fork_rng(devices=[]):
        yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("norm", "name"), [("l2", "PGDL2"), ("linf", "PGD")])
def test_pgd_is_that_of_torchattacks(
    norm: Norm, name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images, radius = model.double(), images.double(), RADIUS[norm]
    torch.manual_seed(3)
    if norm == "linf":
        noise = torch.empty_like(images).uniform_(-radius, radius)
        generator = Drawn(uniform=(noise / radius + 1) / 2)
    else:
        # The peer draws the length uniformly, ours the share of the volume: its 72nd power.
        normal = torch.empty_like(images).normal_()
        length = torch.zeros(len(images), 1, 1, 1).uniform_(0, 1)
        generator = Drawn(normal=normal, uniform=length**72)
    given: Any = {"generator": generator, "epsilon": radius, "norm": norm, "steps": 8}
    result = pgd(model, images, labels, step_size=radius / 4, **given)

    torch.manual_seed(3)
    peer = getattr(torchattacks, name)(model, eps=radius, alpha=radius / 4, steps=8)
    peer.eps_for_division = 0  # 1e-10, added to lengths of gradients of 0.01
    torch.testing.assert_close(result.adversarial, peer.forward(images, labels), rtol=0, atol=1e-10)
    assert 0 < int(result.success.sum()) < len(images)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("norm", "theirs", "loss", "radius", "compared"),
    [
        ("l2", "L2", "ce", RADIUS["l2"], 24),
        ("linf", "Linf", "ce", RADIUS["linf"], 24),
        ("linf", "Linf", "dlr", 4 * RADIUS["linf"], 8),  # most images are fooled by the first step
        ("linf", "Linf", "dlr_targeted", 6 * RADIUS["linf"], 20),
    ],
)
def test_apgd_is_that_of_torchattacks(
    norm: Norm,
    theirs: str,
    loss: str,
    radius: float,
    compared: int,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
) -> None:
    right = torch.arange(len(labels)) % 8 > 0  # the others are at their second class already
    model, images, labels = model.double(), images.double()[right], labels[right]
    torch.manual_seed(3)
    if norm == "linf":
        generator = Drawn(uniform=torch.rand(images.shape))
    else:
        generator = Drawn(normal=torch.randn(images.shape))
    given: Any = {"generator": generator, "epsilon": radius, "norm": norm, "loss": loss}
    result = apgd(model, images, labels, steps=100, target_classes=1, **given)

    torch.manual_seed(3)
    if loss == "dlr_targeted":
        peer = torchattacks.APGDT(model, norm=theirs, eps=radius, steps=100, n_classes=5)
        peer.target_class = 2  # the class of the second largest logit
        with torch.no_grad():
            second = model(images).topk(2, dim=1).indices[:, 1]
        function = partial(targeted_difference_of_logits_ratio, targets=second)
    else:
        peer = torchattacks.APGD(model, norm=theirs, eps=radius, steps=100, loss=loss)
        function = loss_named(loss)
    expected, still_right, _, _ = peer.attack_single_run(images, labels)

    start = random_start(images, radius, norm, generator, surface=True)  # type: ignore[arg-type]
    first = ascend(
        model,
        images,
        labels,
        lambda now, *_: input_gradient(model, now, lambda logits: function(logits, labels)),
        epsilon=radius,
        norm=norm,
        step_size=2 * radius,
        start=start,
    ).adversarial
    with torch.no_grad():
        before, after = function(model(start), labels), function(model(first), labels)
        fools = model(expected).argmax(dim=1) != labels
    entropy_rises = torch.full_like(fools, loss == "ce")  # it is above zero anywhere
    same = (after > before) == (entropy_rises | (after > 0))
    same &= fools | still_right
    assert int(same.sum()) >= compared
    torch.testing.assert_close(result.adversarial[same], expected[same], rtol=0, atol=1e-10)
