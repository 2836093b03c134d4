import pytest
import torch
from attack_reference import cross_entropy_gradient
from scipy import stats
from torch import Tensor, nn

from advdetect.attacks.otcm import otcm
from advdetect.attacks.targets import random_wrong_class
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


@pytest.mark.parametrize("target", ["random", "least_likely"])
def test_steps_down_the_cross_entropy_of_the_recorded_target(
    target: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    result = otcm(
        model,
        images,
        labels,
        generator=generator,
        epsilon=0.8,
        target=target,  # type: ignore[arg-type]
    )
    assert result.target is not None
    model = model.double()
    for row in range(len(images)):
        image = images[row].double()
        gradient = cross_entropy_gradient(model, image, int(result.target[row]))
        expected = (image - 0.8 * gradient / gradient.pow(2).sum().sqrt()).clamp(0, 1)
        torch.testing.assert_close(result.adversarial[row].double(), expected, rtol=0, atol=1e-5)


def test_any_wrong_class_is_a_success_and_not_only_the_target(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    result = otcm(model, images, labels, generator=generator, epsilon=0.8)
    with torch.no_grad():
        predicted = model(result.adversarial).argmax(dim=1)
    assert torch.equal(result.success, predicted != labels)
    assert (result.success & (predicted != result.target)).any()


def test_random_targets_are_uniform_over_the_wrong_classes() -> None:
    classes, count = 6, 12_000
    labels = torch.arange(count) % classes
    targets = random_wrong_class(labels, classes, SampleGenerator(11, range(count)))
    assert targets.dtype == torch.int64
    assert not (targets == labels).any()
    table = torch.zeros(classes, classes, dtype=torch.int64)
    table.index_put_((labels, targets), torch.ones(count, dtype=torch.int64), accumulate=True)
    for label in range(classes):
        wrong = [int(table[label, other]) for other in range(classes) if other != label]
        assert stats.chisquare(wrong).pvalue > 1e-3


def test_random_targets_are_those_of_the_image_and_not_of_the_batch() -> None:
    labels = torch.arange(40) % 5
    whole = random_wrong_class(labels, 5, SampleGenerator(3, range(40)))
    alone = [
        random_wrong_class(labels[row : row + 1], 5, SampleGenerator(3, [row])) for row in range(40)
    ]
    assert torch.equal(torch.cat(alone), whole)


def test_least_likely_target_is_the_smallest_logit_but_never_the_label(
    model: nn.Module, images: Tensor, generator: SampleGenerator
) -> None:
    with torch.no_grad():
        order = model(images).argsort(dim=1)
    labels = order[:, -1].clone()
    labels[:5] = order[:5, 0]
    expected = order[:, 0].clone()
    expected[:5] = order[:5, 1]
    result = otcm(model, images, labels, generator=generator, epsilon=0.1, target="least_likely")
    assert result.target is not None
    assert torch.equal(result.target, expected)


def test_unknown_target_is_refused(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    with pytest.raises(AdvdetectError, match="random, next, least_likely"):
        otcm(
            model,
            images,
            labels,
            generator=generator,
            epsilon=0.1,
            target="nearest",  # type: ignore[arg-type]
        )
