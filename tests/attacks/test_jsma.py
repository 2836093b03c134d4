import math

import pytest
import torch
from attack_models import COUNT
from torch import Tensor, nn

from advdetect.attacks.jsma import jsma
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.targets import choose_target
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

PIXELS = 2 * 6 * 6


def generator() -> SampleGenerator:
    return SampleGenerator(7, range(COUNT))


def most_salient_pair(
    alpha: list[float], beta: list[float], domain: list[int], theta: float
) -> tuple[int, int] | None:
    """Algorithm 3, a loop over all pairs."""
    best, largest = None, 0.0
    for p in domain:
        for q in domain:
            if p < q:
                a, b = alpha[p] + alpha[q], beta[p] + beta[q]
                fits = a > 0 and b < 0 if theta > 0 else a < 0 and b > 0
                if fits and -a * b > largest:
                    best, largest = (p, q), -a * b
    return best


def reference_jsma(
    model: nn.Module, image: Tensor, target: int, theta: float, gamma: float, output: str
) -> tuple[Tensor, bool, int]:
    """Algorithm 2: one image, with its whole Jacobian.

    Γ has no pixel that is at the bound from the start, which the paper would change in vain.
    """

    def forward(flat: Tensor) -> Tensor:
        logits = model(flat.view(1, *image.shape))[0]
        return logits if output == "logits" else logits.softmax(dim=0)

    current, steps, changed = image.flatten().clone(), 0, set()
    while int(forward(current).argmax()) != target:
        jacobian = torch.autograd.functional.jacobian(forward, current)
        alpha = jacobian[target]
        beta = jacobian.sum(dim=0) - alpha
        if output == "probabilities":
            beta = -alpha  # what the sum is but for rounding
        domain = [i for i, x in enumerate(current.tolist()) if (x < 1 if theta > 0 else x > 0)]
        if len(changed) + 2 > gamma * PIXELS:
            domain = [i for i in domain if i in changed]
        pair = most_salient_pair(alpha.tolist(), beta.tolist(), domain, theta)
        if pair is None:
            return image, False, steps
        for pixel in pair:
            current[pixel] = (current[pixel] + theta).clamp(0, 1)
        changed |= set(pair)
        steps += 1
    return current.view_as(image), True, steps


@pytest.mark.parametrize(
    ("theta", "gamma", "output"),
    [
        (1.0, 0.5, "logits"),
        (-1.0, 0.145, "logits"),
        (0.3, 0.5, "logits"),
        pytest.param(-0.4, 1.0, "logits", marks=pytest.mark.long),
        (1.0, 0.145, "probabilities"),
        pytest.param(-1.0, 0.3, "probabilities", marks=pytest.mark.long),
    ],
)
def test_is_what_the_paper_writes(
    theta: float, gamma: float, output: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images, labels = model.double(), images[:24].double(), labels[:24]
    with counted_passes(model) as passes:
        result = jsma(
            model,
            images,
            labels,
            generator=generator()[:24],
            theta=theta,
            gamma=gamma,
            output=output,  # type: ignore[arg-type]
        )
    assert result.target is not None
    for row in range(24):
        expected, success, steps = reference_jsma(
            model, images[row], int(result.target[row]), theta, gamma, output
        )
        torch.testing.assert_close(result.adversarial[row], expected, rtol=0, atol=1e-12)
        assert bool(result.success[row]) == success
        assert result.iterations[row] == steps
    calls = 2 if output == "logits" else 1
    assert passes.backward == calls * (result.iterations + 1).sum()  # the last finds no pair
    assert 0 < int(result.success.sum()) < 24
    assert result.iterations.max() > 3


def test_changes_at_most_the_share_gamma_of_the_pixels_and_each_by_theta(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    for theta, gamma in ((1.0, 0.1), (-1.0, 0.15), (0.2, 0.1), (0.2, 1.0)):
        result = jsma(model, images, labels, generator=generator(), theta=theta, gamma=gamma)
        difference = (result.adversarial - images).flatten(1)
        assert (difference != 0).sum(dim=1).max() <= gamma * PIXELS
        assert result.success.any()
        assert (difference * theta >= 0).all()
        steps = difference / theta
        inside = (result.adversarial > 0) & (result.adversarial < 1)
        torch.testing.assert_close(
            steps[inside.flatten(1)], steps[inside.flatten(1)].round(), rtol=0, atol=1e-5
        )


def test_small_steps_use_the_whole_budget_of_pixels(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """Algorithm 2's bound of γD/2 steps would be a change of two pixels by 0.1 each here."""
    result = jsma(model, images, labels, generator=generator(), theta=0.1, gamma=0.06)
    allowed = math.floor(0.06 * PIXELS / 2)
    assert result.iterations.max() > 5 * allowed
    assert result.iterations.max() <= 10 * 2 * allowed


def test_share_of_the_pixels_is_not_lost_in_rounding() -> None:
    """In binary numbers 0.58 · 100 is below 58, the number of pixels that this image needs."""
    linear = nn.Linear(100, 2).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 100))
        linear.bias.copy_(torch.tensor([2 * 58 - 0.5, 0.0]))
    model = nn.Sequential(nn.Flatten(), linear).eval()
    image = torch.zeros(1, 1, 10, 10, dtype=torch.float64)
    label = torch.tensor([0])
    assert 0.58 * 100 < 58
    for gamma, success in ((0.58, True), (0.57, False)):
        result = jsma(model, image, label, generator=SampleGenerator(0, [0]), gamma=gamma)
        assert result.success.item() == success


@pytest.mark.parametrize("target", ["random", "next", "least_likely"])
def test_aims_at_the_chosen_target(
    target: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = jsma(
        model,
        images,
        labels,
        generator=generator(),
        target=target,  # type: ignore[arg-type]
        output="probabilities",
        theta=-1.0,
        gamma=1.0,
    )
    with torch.no_grad():
        expected = choose_target(target, model(images), labels, generator())
        predicted = model(result.adversarial).argmax(dim=1)
    assert result.target is not None
    assert torch.equal(result.target, expected)
    assert result.success.any()
    assert torch.equal(predicted == expected, result.success)


def test_finds_the_same_as_art_on_the_probabilities(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """ART takes the two largest derivatives of the target: the pair search on probabilities.

    It stops after the step that exceeds gamma, and so may change two pixels more.
    """
    evasion = pytest.importorskip("art.attacks.evasion")
    classification = pytest.importorskip("art.estimators.classification")
    ours = jsma(model, images, labels, generator=generator(), gamma=0.2, output="probabilities")
    assert ours.target is not None
    classifier = classification.PyTorchClassifier(
        nn.Sequential(model, nn.Softmax(dim=1)).eval(),
        nn.CrossEntropyLoss(),
        input_shape=(2, 6, 6),
        nb_classes=5,
        clip_values=(0, 1),
        device_type="cpu",
    )
    art = evasion.SaliencyMapMethod(classifier, theta=1.0, gamma=0.2, batch_size=1, verbose=False)
    found = torch.from_numpy(
        art.generate(images.numpy(), nn.functional.one_hot(ours.target, 5).numpy())
    )
    changed = (found != images).flatten(1).sum(dim=1)
    with torch.no_grad():
        reached = model(found).argmax(dim=1) == ours.target
    assert torch.equal(reached & (changed <= 0.2 * PIXELS), ours.success)
    assert ours.success.sum() > COUNT / 4
    torch.testing.assert_close(found[ours.success], ours.adversarial[ours.success])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"theta": 0.0}, "theta of jsma must be from 0.001 to 1 in size, not 0.0"),
        ({"theta": -1.5}, "theta of jsma must be from 0.001 to 1 in size, not -1.5"),
        ({"gamma": 0.0}, r"gamma of jsma must be in \(0, 1\], not 0.0"),
        ({"gamma": 1.1}, r"gamma of jsma must be in \(0, 1\], not 1.1"),
        ({"gamma": 0.02}, "no two of 72 pixels: make it at least 0.02778"),
        ({"output": "loss"}, "output of jsma must be one of logits, probabilities, not 'loss'"),
        ({"target": "any"}, "target of an attack must be one of random, next, least_likely"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        jsma(model, images, labels, generator=generator(), **parameters)


def test_the_gamma_that_an_error_names_is_enough(model: nn.Module, images: Tensor) -> None:
    labels = torch.zeros(COUNT, dtype=torch.int64)
    result = jsma(model, images, labels, generator=generator(), gamma=0.02778)
    assert result.iterations.max() == 1
