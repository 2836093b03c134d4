"""Checkpoints as people have them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.models.small_cnn import SmallCNN
from advdetect.models.weights import load_weights


@pytest.fixture
def trained():
    torch.manual_seed(1)
    return SmallCNN()


@pytest.fixture
def model():
    torch.manual_seed(2)
    return SmallCNN()


def prefixed(state, prefix):
    return {prefix + name: values for name, values in state.items()}


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (lambda state: state, {}),
        (lambda state: {"state_dict": state, "epoch": 3}, {}),
        (lambda state: {"model": state, "optimizer": {"lr": 0.1}, "best": 0.9}, {}),
        (lambda state: {"net": {"ema": state}}, {"key": "net.ema"}),
        (lambda state: {"model": state, "model_ema": prefixed(state, "x")}, {"key": "model"}),
        (lambda state: prefixed(state, "module."), {}),
        (lambda state: {"state_dict": prefixed(state, "module.")}, {}),
        (lambda state: prefixed(state, "_orig_mod.module."), {}),
        (
            lambda state: prefixed(state, "net.") | {"loss.weight": torch.ones(3)},
            {"prefix": "net."},
        ),
        (lambda state: {name: v.half() for name, v in state.items()}, {}),
    ],
)
def test_a_checkpoint_is_loaded(tmp_path, trained, model, content, options):
    path = tmp_path / "own.pth"
    torch.save(content(trained.state_dict()), path)
    load_weights(model, path, **options)
    for name, values in trained.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], values, rtol=1e-3, atol=1e-4)
        assert model.state_dict()[name].dtype == values.dtype


def test_safetensors_may_have_a_prefix_too(tmp_path, trained, model):
    path = tmp_path / "own.safetensors"
    save_file(prefixed(trained.state_dict(), "module."), path)
    load_weights(model, path)
    assert torch.equal(model.classifier[1].weight, trained.classifier[1].weight)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (lambda s: {"a": s, "b": s}, {}, "holds a, b: name the weights among them with model.weig"),
        (lambda s: {"state_dict": s}, {"key": "model"}, "has no model; it holds state_dict."),
        (lambda s: {"epoch": 3}, {}, "holds no state dict, but epoch."),
        (lambda s: [1, 2], {}, "holds no state dict, but a list."),
        (lambda s: {}, {}, "holds no state dict, but nothing."),
        (lambda s: s, {"prefix": "net."}, "no weight in .* begins with net.; they are features.0"),
        (
            lambda s: prefixed(s, "net.") | {"loss.weight": torch.ones(3)},
            {},
            "it lacks features.0.mean, features.0.std, .* and [0-9]+ more; it has net.fea",
        ),
        (
            lambda s: SmallCNN(num_classes=7).state_dict(),
            {},
            r"classifier\.4\.weight \(7, 64\), in ",
        ),
        (lambda s: SmallCNN(hidden=8).state_dict(), {}, "other shapes: "),
        (
            lambda s: nn.Linear(2, 2).state_dict(),
            {},
            "it has weight, bias, which the model has not",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(tmp_path, model, trained, content, options, said):
    path = tmp_path / "own.pt"
    torch.save(content(trained.state_dict()), path)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    with pytest.raises(AdvdetectError, match=said) as caught:
        load_weights(model, path, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("content", [Evil(), nn.Linear(2, 2), {"state_dict": Evil()}])
def test_a_pickle_is_not_run(tmp_path, model, content, capsys):
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(AdvdetectError, match="holds more than tensors, and reading that could run"):
        load_weights(model, tmp_path / "own.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_none_is_said(tmp_path, model, suffix):
    path = tmp_path / f"own{suffix}"
    with pytest.raises(AdvdetectError, match="does not exist"):
        load_weights(model, path)
    path.write_bytes(b"no weights at all")
    with pytest.raises(AdvdetectError, match=r"cannot be read as weights|more than tensors"):
        load_weights(model, path)
