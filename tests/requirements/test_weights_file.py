"""What is said of a file of weights before a run agrees with what PyTorch and safetensors say."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from advdetect.errors import AdvdetectError
from advdetect.requirements.weights import check_weights_file

STATE = {"weight": torch.arange(600.0), "bias": torch.ones(3, dtype=torch.float16)}


def old_format(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


def cannot_be_read(path):
    try:
        load_file(path) if path.suffix == ".safetensors" else torch.load(path)
    except Exception:  # each format has its own classes
        return True
    return False


WRITERS = [(save_file, ".safetensors"), (torch.save, ".pt"), (old_format, ".pth")]


@pytest.mark.parametrize(("write", "suffix"), WRITERS)
def test_what_can_be_read_is_taken(tmp_path, write, suffix):
    path = tmp_path / f"own{suffix}"
    write(STATE, path)
    check_weights_file(path)


@pytest.mark.parametrize(("write", "suffix"), WRITERS[:2])
@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_what_was_cut_off_is_refused(tmp_path, write, suffix, kept):
    path = tmp_path / f"own{suffix}"
    write(STATE, path)
    path.write_bytes(path.read_bytes()[:kept])
    assert cannot_be_read(path)
    with pytest.raises(AdvdetectError, match="holds no weights, or was cut off"):
        check_weights_file(path)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"no weights at all", b"\x02" + bytes(7) + b"[]", b"\x02" + bytes(7) + b"{}."]
)
def test_what_is_of_another_kind_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"own{suffix}"
    with pytest.raises(AdvdetectError, match=f"the file {path} does not exist"):
        check_weights_file(path)
    path.write_bytes(content)
    with pytest.raises(AdvdetectError, match="holds no weights, or was cut off"):
        check_weights_file(path)
