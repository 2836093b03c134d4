"""Our one-step and iterated gradient attacks are those of foolbox, to float tolerance.

foolbox ascends the cross entropy, ours the logarithm of the odds against the label. The cross
entropy is an increasing function of it, so the gradients of an image differ by a positive factor,
which neither the sign nor the division by the length keeps. Ours differ on purpose where the cross
entropy has no gradient left in float32, which does not happen on the model of these tests.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advdetect.attacks.bim import bim
from advdetect.attacks.fgm import fgm
from advdetect.attacks.fgsm import fgsm
from advdetect.attacks.gradient import loss_gradient
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator

foolbox = pytest.importorskip("foolbox", reason="needs pip install -e '.[foolbox]'")

TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5}
# name: ours, its parameters, the class of foolbox, its parameters, the radius
PAIRS: dict[str, tuple[Callable[..., AttackResult], dict[str, Any], str, dict[str, Any], float]] = {
    "fgsm": (fgsm, {}, "LinfFastGradientAttack", {}, 0.1),
    "fgm": (fgm, {}, "L2FastGradientAttack", {}, 1.0),
    "bim_linf": (
        bim,
        {"norm": "linf", "steps": 10},
        "LinfBasicIterativeAttack",
        {"rel_stepsize": 0.1, "steps": 10},
        0.1,
    ),
    "bim_l2": (
        bim,
        {"norm": "l2", "steps": 10},
        "L2BasicIterativeAttack",
        {"rel_stepsize": 0.1, "steps": 10},
        1.0,
    ),
    # Steps that leave the ball, so that it is projected on.
    "bim_linf_projected": (
        bim,
        {"norm": "linf", "steps": 6, "step_size": 0.04},
        "LinfBasicIterativeAttack",
        {"abs_stepsize": 0.04, "steps": 6},
        0.1,
    ),
    "bim_l2_projected": (
        bim,
        {"norm": "l2", "steps": 6, "step_size": 0.4},
        "L2BasicIterativeAttack",
        {"abs_stepsize": 0.4, "steps": 6},
        1.0,
    ),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PAIRS)
def test_identical_to_foolbox(
    name: str,
    dtype: torch.dtype,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
) -> None:
    ours, parameters, theirs, their_parameters, radius = PAIRS[name]
    model, images = model.to(dtype), images.to(dtype)
    assert loss_gradient(model, images, labels).flatten(1).any(dim=1).all()

    result = ours(model, images, labels, generator=generator, epsilon=radius, **parameters)
    attack = getattr(foolbox.attacks, theirs)(random_start=False, **their_parameters)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    _, expected, success = attack(bounded, images, labels, epsilons=radius)

    torch.testing.assert_close(result.adversarial, expected, rtol=0, atol=TOLERANCE[dtype])
    assert torch.equal(result.success, success)
    assert 0 < int(success.sum()) < len(images), "the test needs successes and failures"
