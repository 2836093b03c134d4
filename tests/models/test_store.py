import pytest
import torch
from torch import nn

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError
from advdetect.io import write_tensors
from advdetect.models.store import (
    build_model,
    read_model,
    resolve_arguments,
    write_model,
)

TARGET = "advdetect.models.small_cnn.SmallCNN"
CPU = torch.device("cpu")


@pytest.fixture
def split():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 8, 8), dtype=torch.uint8, generator=generator)
    images[:, 1] //= 2
    return ImageSplit(images, torch.arange(50) % 5, tuple("abcde"))


def test_auto_arguments_come_from_the_training_images(split):
    names = ("num_classes", "in_channels", "image_size", "mean", "std")
    resolved = resolve_arguments(dict.fromkeys(names, "auto") | {"hidden": 3}, split)
    pixels = split.images.double() / 255
    assert (resolved["num_classes"], resolved["in_channels"], resolved["image_size"]) == (5, 3, 8)
    assert resolved["hidden"] == 3
    torch.testing.assert_close(
        torch.tensor(resolved["mean"]).double(), pixels.mean((0, 2, 3)), atol=5e-5, rtol=0
    )
    torch.testing.assert_close(
        torch.tensor(resolved["std"]).double(),
        pixels.std((0, 2, 3), correction=0),
        atol=5e-5,
        rtol=0,
    )


def test_auto_of_something_else_is_refused(split):
    with pytest.raises(AdvdetectError, match=r"model\.arguments\.hidden=auto is not known"):
        resolve_arguments({"hidden": "auto"}, split)


def test_a_stored_model_is_the_same_model(tmp_path):
    model = build_model(TARGET, {"hidden": 16})
    write_model(tmp_path / "model.safetensors", model, TARGET, {"hidden": 16}, {})
    spec = {"_target_": TARGET, "arguments": {"hidden": 16}}
    again = read_model(tmp_path / "model.safetensors", spec, CPU)
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(model(images), again(images))
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize(
    ("target", "arguments", "said"),
    [
        ("advdetect.models.small_cnn.SmallCnn", {}, "has no 'SmallCnn'"),
        ("no_such_package.Net", {}, "cannot be imported"),
        (TARGET, {"width": 3}, "does not take these arguments"),
        ("builtins.dict", {}, "not a torch.nn.Module"),
    ],
)
def test_a_wrong_recipe_is_explained(target, arguments, said):
    with pytest.raises(AdvdetectError, match=said):
        build_model(target, arguments)


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.LazyLinear(3)


def fail():
    raise RuntimeError("no such\nbackbone")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("torch.nn.Identity", "has no parameters: there is nothing to train"),
        (f"{__name__}.Lazy", "layers whose size is not known"),
        (
            f"{__name__}.fail",
            r"failed with RuntimeError: no such backbone \(.*test_store\.py, line ",
        ),
        (f"{__name__}.TARGET", "is no class or function that returns a model"),
    ],
)
def test_a_model_that_cannot_be_used_is_explained(target, said):
    with pytest.raises(AdvdetectError, match=said):
        build_model(target, {})


AUTO = {"num_classes": "auto", "mean": "auto", "hidden": 16}
MADE = {"num_classes": 7, "mean": [0.5], "hidden": 16}


@pytest.fixture
def stored(tmp_path):
    """Write a model that was made of some arguments, as its file says."""

    def stored(target=TARGET, **changed):
        path = tmp_path / "model.safetensors"
        model = build_model(TARGET, MADE)
        write_model(path, model, target, MADE | changed, {})
        return path

    return stored


def test_what_is_auto_is_taken_from_the_file(stored):
    model = read_model(stored(), {"_target_": TARGET, "arguments": AUTO}, CPU)
    assert model(torch.rand(2, 1, 8, 8)).shape == (2, 7)


def test_a_file_calls_nothing(stored):
    """Its author chooses what it says; what is built is what the specification says."""
    path = stored(f"{__name__}.fail")
    with pytest.raises(AdvdetectError, match=r"holds another model .*fail\(hidden=16, mean"):
        read_model(path, {"_target_": TARGET, "arguments": AUTO}, CPU)


@pytest.mark.parametrize(
    ("changed", "arguments", "said"),
    [
        ({}, AUTO | {"hidden": 17}, "hidden=16.* in place of .*hidden=17"),
        ({}, {"num_classes": "auto", "mean": "auto"}, "holds another model"),
        ({}, AUTO | {"dropout": 0.5}, "holds another model"),
        ({"num_classes": {"_target_": "os.system"}}, AUTO, "no number for .* num_classes"),
        ({"num_classes": "7"}, AUTO, "no number for .* num_classes"),
        ({"mean": []}, AUTO, "no number for .* mean"),
        ({}, AUTO | {"width": "auto"}, "no number for .* width"),
    ],
)
def test_a_file_of_another_model_is_refused(stored, changed, arguments, said):
    with pytest.raises(AdvdetectError, match=said):
        read_model(stored(**changed), {"_target_": TARGET, "arguments": arguments}, CPU)


def test_a_file_without_a_model_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(AdvdetectError, match="holds no model"):
        read_model(path, {"_target_": TARGET, "arguments": {}}, CPU)
