"""Classifiers of other libraries: theirs behind their own normalisation."""

import importlib.util
import sys

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms import functional

from advdetect.errors import AdvdetectError
from advdetect.imports import locate
from advdetect.models.libraries import timm as timms
from advdetect.models.libraries import torchvision as torchvisions
from advdetect.models.libraries.shared import LibraryClassifier
from advdetect.models.published import has_checksum
from advdetect.models.weights import load_weights

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm")
SHUFFLENET = "shufflenet_v2_x0_5"


def images(channels=3, side=32):
    return torch.rand(4, channels, side, side, generator=torch.Generator().manual_seed(0))


def drawn(make, **arguments):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(**arguments).eval()


def test_torchvisions_networks_normalise_as_their_weights_want_it():
    ours = drawn(torchvisions.classifier, name=SHUFFLENET, num_classes=10, in_channels=3)
    theirs = drawn(models.get_model, name=SHUFFLENET, num_classes=10)
    normalized = functional.normalize(images(), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    torch.testing.assert_close(ours(images()), theirs(normalized))
    assert list(ours.state_dict()) == [f"net.{name}" for name in theirs.state_dict()]
    grey = images(1)
    expected = ours(grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(ours(grey), expected)


@needs_timm
def test_timms_networks_normalise_as_their_weights_want_it():
    timm = importlib.import_module("timm")
    name, size = "vit_tiny_patch16_224", {"img_size": 32, "depth": 1}
    ours = drawn(timms.classifier, name=name, num_classes=7, in_channels=3, options=size)
    theirs = drawn(timm.create_model, model_name=name, num_classes=7, **size)
    normalized = functional.normalize(images(), (0.5,) * 3, (0.5,) * 3)
    torch.testing.assert_close(ours(images()), theirs(normalized))


@needs_timm
def test_timms_weights_have_a_checksum_or_are_placed_by_hand():
    found = timms.published("pretrained", name="resnet18.a1_in1k")
    assert has_checksum(found.url)
    assert found.classes == 1000
    for name, said in [
        ("convnext_tiny.dinov3_lvd1689m", "those of convnext_tiny.dinov3_lvd1689m are of no class"),
        ("beit3_base_patch16_224.in22k_ft_in1k", "from https://huggingface.co/timm/beit3_base"),
        ("resnet19t", "timm publishes no weights of resnet19t"),
    ]:
        with pytest.raises(AdvdetectError, match=said):
            timms.published("pretrained", name=name)
    with pytest.raises(AdvdetectError, match=r"a1_in1k is no weights of timm.*near it are pretr"):
        timms.published("a1_in1k", name="resnet18")
    with pytest.raises(AdvdetectError, match=r"resnet18.a9 is no classifier of timm; near it are"):
        timms.classifier(name="resnet18.a9", num_classes=2, in_channels=3)


def test_without_timm_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(AdvdetectError, match=r"pip install -e '\.\[timm\]'\.$") as caught:
        timms.classifier(name="resnet18", num_classes=10, in_channels=3)
    assert "\n" not in str(caught.value)


def test_all_of_torchvisions_classifiers_have_weights_with_a_checksum():
    names = models.list_models(module=models)
    assert len(names) >= 80
    for name in names:
        found = torchvisions.published("pretrained", name=name)
        assert found.classes == 1000  # what advdetect.requirements.weights.check_ilsvrc says
        assert has_checksum(found.url)
    second = torchvisions.published("IMAGENET1K_V2", name="resnet50")
    assert second.url == models.ResNet50_Weights.IMAGENET1K_V2.url


@pytest.mark.parametrize(
    ("make", "arguments", "said"),
    [
        ("classifier", {"name": "resnet81"}, "name: resnet81 is no classifier of torchvision; nea"),
        ("classifier", {"name": "fasterrcnn_resnet50_fpn"}, "is no classifier of torchvision"),
        ("classifier", {"name": SHUFFLENET, "in_channels": 4}, "ShuffleNetV2 takes images of 3 ch"),
        (
            "published",
            {"name": "resnet18", "weights": "IMAGENET_V1"},
            "IMAGENET_V1 is no weights of resnet18 and no file; near it are IMAGENET1K_V1",
        ),
        (
            "published",
            {"name": "vgg16", "weights": "IMAGENET1K_FEATURES"},
            "IMAGENET1K_FEATURES of vgg16 are those of no classifier",
        ),
    ],
)
def test_what_torchvision_has_not_is_said_with_what_is_near(make, arguments, said):
    call = locate(f"{torchvisions.__name__}.{make}")
    usual = {"num_classes": 10, "in_channels": 3} if make == "classifier" else {}
    with pytest.raises(AdvdetectError, match=said) as caught:
        call(**usual | arguments)
    assert "\n" not in str(caught.value)


class Sided(nn.Module):
    """A network that answers twice in training, as torchvision's GoogLeNet does."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 5)

    def forward(self, images):
        logits = self.fc(images.flatten(1))
        return (logits, 2 * logits) if self.training else logits


def test_of_several_answers_the_first_are_the_logits():
    model = LibraryClassifier(Sided(), (0.0,) * 3, (1.0,) * 3, in_channels=3)
    few = images(side=2)
    assert torch.equal(model.train()(few), model.eval()(few))


@pytest.mark.parametrize("prefix", ["", "module.", "net.", "module.net."])
def test_a_file_of_the_librarys_is_one_of_the_models(tmp_path, prefix):
    model = LibraryClassifier(Sided(), (0.0,) * 3, (1.0,) * 3, in_channels=3)
    given = Sided().state_dict()
    torch.save({prefix + name: values for name, values in given.items()}, tmp_path / "a.pth")
    load_weights(model, tmp_path / "a.pth", classes=5)
    assert torch.equal(model.net.fc.weight, given["fc.weight"])


def test_a_file_for_other_classes_is_said_to_be_one(tmp_path):
    model = LibraryClassifier(Sided(), (0.0,) * 3, (1.0,) * 3, in_channels=3)
    torch.save({"fc.weight": torch.zeros(9, 12), "fc.bias": torch.zeros(9)}, tmp_path / "a.pth")
    with pytest.raises(AdvdetectError, match=r"a.pth is of 9 classes, but the data has 5: choose"):
        load_weights(model, tmp_path / "a.pth", classes=5)
    torch.save({"fc.weight": torch.zeros(9, 11), "fc.bias": torch.zeros(9)}, tmp_path / "a.pth")
    with pytest.raises(AdvdetectError, match=r"other shapes: net.fc.weight \(9, 11\), in the mod"):
        load_weights(model, tmp_path / "a.pth", classes=5)
