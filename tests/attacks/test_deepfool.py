import pytest
import torch
from attack_models import CLASSES, COUNT, make_linear_model
from torch import Tensor, nn

from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

CENTRE = torch.full((COUNT, 1, 4, 4), 0.5, dtype=torch.float64)


def generator() -> SampleGenerator:
    return SampleGenerator(7, range(COUNT))


def distances(adversarial: Tensor, images: Tensor) -> Tensor:
    return torch.linalg.vector_norm((adversarial - images).flatten(1), dim=1)


def linear_model_of_many_classes() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a linear model of (1, 4, 4) images, its weights and the images near its boundaries."""
    random = torch.Generator().manual_seed(3)
    linear = nn.Linear(16, 7).double()
    with torch.no_grad():
        linear.weight.normal_(generator=random)
        linear.bias.copy_(-linear.weight.sum(dim=1) / 2)  # all classes meet at the grey image
    images = CENTRE + 0.1 * torch.randn(CENTRE.shape, generator=random).double().clamp(-2, 2)
    return nn.Sequential(nn.Flatten(), linear).eval(), linear.weight.detach(), images


def reference_deepfool(
    model: nn.Module, image: Tensor, label: int, overshoot: float, iterations: int
) -> tuple[Tensor, int]:
    """Algorithm 2 with the clipping and the 1e-4 of the usual code: one image, all classes."""
    total, current, steps = torch.zeros_like(image), image, 0
    while steps < iterations and int(model(current[None]).argmax()) == label:
        logits = model(current[None])[0].detach()
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], current)
        options = []
        for k in range(len(logits)):
            if k != label:
                f, w = logits[k] - logits[label], jacobian[k] - jacobian[label]
                options.append((float(f.abs() / w.norm()), w / w.norm()))
        length, direction = min(options, key=lambda option: option[0])
        total = total + (length + 1e-4) * direction
        current = (image + (1 + overshoot) * total).clamp(0, 1)
        steps += 1
    return current, steps


def test_is_what_the_paper_writes(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    model, images = model.double(), images.double()
    with counted_passes(model) as passes:
        result = deepfool(model, images, labels, generator=generator())
    assert result.success.all()
    assert result.iterations.max() > 2
    for row in range(COUNT):
        expected, steps = reference_deepfool(model, images[row], int(labels[row]), 0.02, 50)
        torch.testing.assert_close(result.adversarial[row], expected, rtol=0, atol=1e-9)
        assert result.iterations[row] == steps
    assert passes.backward == result.iterations.sum() * (CLASSES - 1)


@pytest.mark.parametrize("candidates", [2, 4])
def test_is_the_same_as_in_foolbox(
    candidates: int, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    foolbox = pytest.importorskip("foolbox")
    peer = foolbox.attacks.L2DeepFoolAttack(steps=50, candidates=candidates + 1, overshoot=0.02)
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels  # foolbox leaves the predicted class
    images, labels = images[right], labels[right]
    ours = deepfool(model, images, labels, generator=generator(), candidates=candidates)
    theirs = peer.run(
        foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"),
        images,
        foolbox.criteria.Misclassification(labels),
    )
    assert ours.success.all()
    torch.testing.assert_close(ours.adversarial, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("overshoot", [0.02, 0.001])
def test_minimal_perturbation_of_two_linear_classes(overshoot: float) -> None:
    model, difference, image = make_linear_model()
    result = deepfool(
        model, image, torch.tensor([0]), generator=SampleGenerator(0, [0]), overshoot=overshoot
    )
    assert result.success.all()
    assert result.iterations.tolist() == [1]
    expected = (1 + overshoot) * (0.3 + 1e-4) * difference / difference.norm()
    found = (result.adversarial - image).flatten()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("overshoot", [0.02, 0.001])
def test_minimal_perturbation_of_many_linear_classes(overshoot: float) -> None:
    model, weights, images = linear_model_of_many_classes()
    logits = model(images).detach()
    labels = logits.argmax(dim=1)
    minimal = torch.empty(COUNT, dtype=torch.float64)
    for row in range(COUNT):
        label = int(labels[row])
        minimal[row] = min(
            (logits[row, label] - logits[row, k]) / (weights[label] - weights[k]).norm()
            for k in range(7)
            if k != label
        )
    result = deepfool(model, images, labels, generator=generator(), overshoot=overshoot)
    assert result.success.all()
    assert ((result.adversarial > 0) & (result.adversarial < 1)).all(), "the box must be inactive"
    found = distances(result.adversarial, images)
    torch.testing.assert_close(found, (1 + overshoot) * (minimal + 1e-4), rtol=1e-9, atol=0)
    assert (found >= minimal).all()


def test_candidates_are_the_wrong_classes_of_the_largest_logits() -> None:
    model, weights, images = linear_model_of_many_classes()
    logits = model(images).detach()
    best = logits.topk(2, dim=1)
    labels, runner_up = best.indices.unbind(dim=1)
    gap = best.values[:, 0] - best.values[:, 1]
    expected = gap / (weights[labels] - weights[runner_up]).norm(dim=1)
    with counted_passes(model) as passes:
        result = deepfool(model, images, labels, generator=generator(), candidates=1)
    found = distances(result.adversarial, images)
    crossed = model(result.adversarial).argmax(dim=1) == runner_up
    assert crossed.sum() > COUNT / 2
    torch.testing.assert_close(found[crossed], 1.02 * (expected + 1e-4)[crossed])
    assert passes.backward == result.iterations.sum()
    free = distances(deepfool(model, images, labels, generator=generator()).adversarial, images)
    assert (free < found - 1e-3).any(), "the nearest class must sometimes be another one"
    assert (free <= found + 1e-9).all()


def test_more_candidates_than_wrong_classes_are_all_of_them(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    some = deepfool(model, images, labels, generator=generator(), candidates=99)
    every = deepfool(model, images, labels, generator=generator())
    assert torch.equal(some.adversarial, every.adversarial)


def test_crosses_a_boundary_although_the_box_takes_back_half_of_each_step() -> None:
    """Half of the pixels of a black image can only stay black."""
    linear = nn.Linear(16, 2).double()
    with torch.no_grad():
        linear.weight[0] = 0
        linear.weight[1] = torch.tensor([1.0, -1.0]).repeat(8)
        linear.bias.copy_(torch.tensor([1.0, 0.0]))
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    model = nn.Sequential(nn.Flatten(), linear).eval()
    result = deepfool(model, image, torch.tensor([0]), generator=SampleGenerator(0, [0]))
    assert result.success.all()
    assert result.iterations.item() < 20
    minimal = 1 / 8**0.5  # eight pixels of 1/8
    assert minimal <= float(result.adversarial.norm()) <= 1.02 * minimal


def test_stops_after_the_iterations(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    unlimited = deepfool(model, images, labels, generator=generator())
    limited = deepfool(model, images, labels, generator=generator(), iterations=2)
    assert torch.equal(limited.success, unlimited.iterations <= 2)
    assert torch.equal(limited.iterations, unlimited.iterations.clamp_max(2))
    early = limited.success
    torch.testing.assert_close(
        limited.adversarial[early], unlimited.adversarial[early], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overshoot": 0.0}, "overshoot of deepfool must be greater than 0, not 0.0"),
        ({"iterations": 0}, "iterations of deepfool must be at least 1, not 0"),
        ({"candidates": 0}, "candidates of deepfool must be at least 1, null or auto, not 0"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        deepfool(model, images, labels, generator=generator(), **parameters)
