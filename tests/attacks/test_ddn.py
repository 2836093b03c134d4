"""DDN beside foolbox's, step for step, and on linear models."""

import pytest
import torch
from attack_models import COUNT, make_linear_model
from penalty_cases import norms, run
from torch import Tensor, nn

from advdetect.attacks.ddn import ddn
from advdetect.attacks.logits import margin
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


@pytest.mark.parametrize("target", [None, "next"])
def test_is_the_same_as_in_foolbox(
    target: str | None, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """In float64, where a success by rounding is none of either."""
    foolbox = pytest.importorskip("foolbox", reason="needs pip install -e '.[foolbox]'")
    model, images = model.double(), images.double()
    with torch.no_grad():
        logits = model(images)
    goal = labels if target is None else (labels + 1) % logits.shape[1]
    right = (margin(logits, goal) > 0) == (target is None)
    images, labels, goal = images[right], labels[right], goal[right]
    criteria = foolbox.criteria
    criterion = criteria.Misclassification if target is None else criteria.TargetedMisclassification
    peer = foolbox.attacks.DDNAttack(steps=30, init_epsilon=0.7, gamma=0.1)
    theirs = peer.run(
        foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), images, criterion(goal)
    )
    ours = ddn(
        model,
        images,
        labels,
        generator=SampleGenerator(7, range(len(images))),
        target=target,
        steps=30,
        initial_norm=0.7,
        gamma=0.1,
    )
    assert ours.success.any()
    torch.testing.assert_close(
        ours.adversarial, theirs, rtol=0, atol=1e-6
    )  # foolbox has its radius in float32
    assert (ours.iterations == 30).all()


def test_minimal_perturbation_of_two_linear_classes() -> None:
    """With more classes the cross entropy mixes their directions."""
    model, difference, image = make_linear_model()
    direction = (difference / difference.norm()).view_as(image)
    images = torch.cat([image + shift * direction for shift in (-0.3, 0.0, 0.1, 0.2)])
    result = run(ddn, model, images, torch.zeros(4, dtype=torch.int64))
    assert result.success.all()
    least = torch.tensor([0.6, 0.3, 0.2, 0.1])
    torch.testing.assert_close(norms(result, images), least.double(), rtol=0.005, atol=1e-6)


def test_a_confident_model_has_a_direction() -> None:
    """Where the cross entropy's own gradient is zero in float32."""
    linear, difference, image = make_linear_model()
    scale = 1000.0

    class Confident(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return scale * linear(images)

    result = run(ddn, Confident().eval(), image, torch.tensor([0]))
    assert result.success.all()
    found = (result.adversarial - image).flatten()
    assert 0.3 <= float(found.norm()) <= 0.3015
    torch.testing.assert_close(found, 0.3 * difference / difference.norm(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"steps": 0}, "steps of an attack must be at least 1, not 0"),
        ({"initial_norm": 0.0}, "initial_norm of ddn must be greater than 0, not 0.0"),
        ({"gamma": 0.0}, r"gamma of ddn must be in \(0, 1\), not 0.0"),
        ({"gamma": 1.0}, r"gamma of ddn must be in \(0, 1\), not 1.0"),
        ({"target": "nearest"}, "target of an attack must be one of .* not 'nearest'"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        ddn(model, images, labels, generator=SampleGenerator(7, range(COUNT)), **parameters)
