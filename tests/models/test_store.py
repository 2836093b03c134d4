import pytest
import torch

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError
from advdetect.models.small_cnn import SmallCNN
from advdetect.models.store import (
    build_model,
    load_weights,
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
    again = read_model(tmp_path / "model.safetensors", CPU)
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(model(images), again(images))
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_own_weights_are_loaded(tmp_path, suffix):
    from safetensors.torch import save_file

    trained, path = SmallCNN(), tmp_path / f"own{suffix}"
    if suffix == ".pt":
        torch.save(trained.state_dict(), path)
    else:
        save_file(trained.state_dict(), path)
    model = build_model(TARGET, {})
    load_weights(model, path)
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(model(images), trained.eval()(images))


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path):
    torch.save(SmallCNN(hidden=8).state_dict(), tmp_path / "own.pt")
    with pytest.raises(AdvdetectError, match="does not hold the weights of SmallCNN") as caught:
        load_weights(build_model(TARGET, {}), tmp_path / "own.pt")
    assert "\n" not in str(caught.value)


def test_a_pickle_with_code_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save(Evil(), tmp_path / "own.pt")
    with pytest.raises(AdvdetectError, match="does not hold the weights"):
        load_weights(build_model(TARGET, {}), tmp_path / "own.pt")


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
