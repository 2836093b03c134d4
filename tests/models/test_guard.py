"""Each model does one thing wrong that would otherwise give numbers without a word."""

import pytest
import torch
from torch import nn
from torch.func import grad, jvp, vmap

from advdetect.errors import AdvdetectError
from advdetect.models.guard import (
    check_answers,
    check_weights,
    guard,
    looks_like_probabilities,
    unchanged,
)
from advdetect.models.layers import Normalize
from advdetect.models.lenet5 import LeNet5

CLASSES = 10


class Linear(nn.Module):
    """A linear classifier of 1×8×8 images, to be made worse."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, images):
        return self.linear(images.flatten(1))


class Softmax(Linear):
    def forward(self, images):
        return super().forward(images).softmax(1)


class Percent(Linear):
    def forward(self, images):
        return 100 * super().forward(images).softmax(1) + 1e-6


class Sigmoid(Linear):
    def forward(self, images):
        return super().forward(images).sigmoid()


class Random(Linear):
    def forward(self, images):
        return super().forward(nn.functional.dropout(images))


class FaintlyRandom(Linear):
    def forward(self, images):
        logits = super().forward(images)
        return logits + 1e-6 * torch.randn_like(logits)


class OfTheBatch(Linear):
    def forward(self, images):
        return super().forward(images - images.mean(0))


class BatchNormWithoutStatistics(Linear):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1, track_running_stats=False)

    def forward(self, images):
        return super().forward(self.norm(images))


class NotANumber(Linear):
    def forward(self, images):
        return super().forward(images) / (images.flatten(1)[:, :1] * 0)


class WithoutGradient(Linear):
    def forward(self, images):
        return super().forward(images.detach())


class InNumPy(Linear):
    def forward(self, images):
        weights = self.linear.weight.detach().numpy()
        return torch.from_numpy(images.detach().flatten(1).numpy() @ weights.T)


class Tuple(Linear):
    def forward(self, images):
        return super().forward(images), images


class Dict(Linear):
    def forward(self, images):
        return {"logits": super().forward(images)}


class Squeezed(Linear):
    def forward(self, images):
        return super().forward(images).squeeze()


class Maps(Linear):
    def forward(self, images):
        return super().forward(images)[..., None, None]


class Half(Linear):
    def forward(self, images):
        return super().forward(images).half()


class HalfWeights(Linear):
    def __init__(self):
        super().__init__()
        self.half()


class Counting(Linear):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images):
        self.calls += 1
        return super().forward(images)


class TooSmall(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 2, 11), nn.Flatten(), nn.Linear(8, CLASSES))

    def forward(self, images):
        return self.layers(images)


class NineClasses(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 9)

    def forward(self, images):
        return self.linear(images.flatten(1))


@pytest.fixture
def images():
    return torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Softmax, "returns probabilities: it must return logits"),
        (Percent, "returns probabilities"),
        (Sigmoid, "returns probabilities"),
        (Random, "is random: asked twice"),
        (FaintlyRandom, "is random: asked twice"),
        (OfTheBatch, "returns other logits for an image alone than for the same image in a batch"),
        (BatchNormWithoutStatistics, "returns other logits for an image alone"),
        (NotANumber, "logits that are no finite numbers for 16 of 16 images"),
        (WithoutGradient, "WithoutGradient has no gradient"),
        (InNumPy, "InNumPy has no gradient"),
        (Tuple, "returns a tuple: it must return one tensor of logits"),
        (Dict, "returns a dict: it must return one tensor of logits"),
        (Squeezed, "returned a tensor of shape (10,) for 1 images"),
        (Maps, "returned a tensor of shape (16, 10, 1, 1) for 16 images"),
        (Half, "returns torch.float16 for torch.float32 images"),
        (
            HalfWeights,
            "(16, 1, 8, 8) and type torch.float32, failed with RuntimeError",
        ),
        (Counting, "called in eval mode changed weights of the model (calls)"),
        (TooSmall, "called with images of shape (16, 1, 8, 8)"),
        (NineClasses, "returns 9 logits, but the data has 10 classes"),
    ],
)
def test_a_model_that_is_none_of_ours_is_refused(model, said, images):
    with pytest.raises(AdvdetectError) as refused:
        check_answers(guard(model().eval()), images, CLASSES)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


class LogSoftmax(Linear):
    """Logarithms of probabilities are logits: their softmax is the same."""

    def forward(self, images):
        return super().forward(images).log_softmax(1)


class InPlace(Linear):
    def forward(self, images):
        images -= 0.5
        images *= 2
        return super().forward(images)


class ZeroHead(Linear):
    """Some begin to train with a last layer of zeros."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)


class Rectified(Linear):
    def forward(self, images):
        return 20 * super().forward(images).relu()


@pytest.mark.parametrize("model", [Linear, LogSoftmax, InPlace, ZeroHead, Rectified])
@pytest.mark.parametrize("count", [1, 2, 16])
def test_a_model_that_is_one_passes(model, images, count):
    check_answers(guard(model().eval()), images[:count], CLASSES)


def test_models_of_ours_pass_trained_or_not(images):
    model = nn.Sequential(
        Normalize((0.5,), (0.5,)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
    )
    model.extend([nn.Flatten(), nn.Linear(144, CLASSES)])
    check_answers(guard(model.eval()), images, CLASSES)
    check_answers(guard(LeNet5().eval()), torch.rand(16, 1, 28, 28), CLASSES)


def test_a_model_works_on_copies_of_its_images(images):
    """Values, gradients and products with the Jacobian are those of a model that copies itself."""
    inside, before = guard(InPlace()), images.clone()
    outside = guard(Linear())

    def reference(batch):
        return outside((batch - 0.5) * 2)

    def loss(model, batch):
        return model(batch)[:, 0].sum()

    assert torch.equal(inside(images), reference(images))
    assert torch.equal(images, before)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(inside, leaf), leaf)
    leaf = images.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(reference, leaf), leaf)
    assert torch.equal(gradient, expected)
    per_image = vmap(grad(lambda image: loss(inside, image[None])))(images)
    torch.testing.assert_close(per_image, expected)
    for found, wanted in zip(
        jvp(inside, (images,), (gradient,)), jvp(reference, (images,), (gradient,)), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("answers", "are"),
    [
        (torch.tensor([[0.2, 0.8], [0.5, 0.5]]), True),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), True),
        (torch.tensor([[20.0, 80.0], [50.0, 50.0]]), True),
        (torch.tensor([[0.2, 0.9], [0.7, 0.9]]), True),
        (torch.tensor([[-0.2, 1.2], [0.5, 0.5]]), False),
        (torch.tensor([[3.0, 1.0], [0.0, 9.0]]), False),
        (torch.tensor([[0.2, 0.8]]), False),  # of one image nobody can know
        (torch.zeros(2, 2), False),
        (torch.tensor([[2.0, 3.0], [2.0, 3.0]]), False),  # a bias before training
    ],
)
def test_what_looks_like_probabilities(answers, are):
    assert looks_like_probabilities(answers) is are


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_refused(value):
    model = Linear()
    check_weights(model)
    with torch.no_grad():
        model.linear.bias[3] = value
    with pytest.raises(AdvdetectError, match=r"no finite numbers \(linear\.bias\)"):
        check_weights(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.linear.weight.data.add_(1),
        lambda model: model.linear.bias.data.zero_(),
        lambda model: setattr(model, "linear", nn.Linear(64, CLASSES)),
        lambda model: model.register_buffer("more", torch.zeros(1)),
        lambda model: model.train(),
    ],
)
def test_a_block_that_changes_the_model_is_refused(change):
    model = Linear().eval()
    with pytest.raises(AdvdetectError, match=r"^The attack x "), unchanged(model, "The attack x"):
        change(model)


def test_a_block_that_leaves_the_model_is_fine(images):
    model = Linear().eval()
    with unchanged(model, "The attack x"):
        model(images).sum().backward()
        model.train()
        model.eval()


class LabelsOnly(Linear):
    """Says so, and answers what looks like probabilities."""

    labels_only = True

    def forward(self, images):
        return nn.functional.one_hot(super().forward(images).argmax(1), CLASSES).float()


class RandomLabels(LabelsOnly):
    def forward(self, images):
        return super().forward(torch.rand_like(images))


def test_a_model_may_say_that_it_answers_labels_only(images):
    model = guard(LabelsOnly().eval())
    check_answers(model, images, CLASSES)
    with pytest.raises(AdvdetectError, match="LabelsOnly answers labels only and has no gradient"):
        model(images.clone().requires_grad_())
    with pytest.raises(AdvdetectError, match="is random: asked twice"):
        check_answers(guard(RandomLabels().eval()), images, CLASSES)
