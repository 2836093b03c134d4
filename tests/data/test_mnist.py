import shutil

import pytest
import torch

from advdetect.data import mnist
from advdetect.errors import AdvdetectError


def test_a_hand_placed_copy_is_found_and_used(mnist_root, monkeypatch):
    monkeypatch.setattr(mnist.MNIST, "mirrors", [])  # any download would fail
    splits = mnist.load(root=str(mnist_root))
    assert splits["train"].images.shape == (60000, 1, 28, 28)
    assert splits["test"].images.shape == (10000, 1, 28, 28)
    assert splits["test"].images.dtype == torch.uint8
    assert splits["test"].labels[:5].tolist() == [7, 2, 1, 0, 4]
    # The published mean and standard deviation of the training pixels.
    pixels = splits["train"].images.double() / 255
    assert abs(pixels.mean() - 0.1307) < 5e-5
    assert abs(pixels.std() - 0.3081) < 5e-5


def test_a_changed_file_is_refused_with_both_checksums(mnist_root, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(mnist_root / "MNIST" / "raw", folder)
    name = "t10k-labels-idx1-ubyte"
    (folder / name).chmod(0o644)
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(AdvdetectError) as caught:
        mnist.load(root=str(tmp_path))
    assert name in str(caught.value)
    assert mnist.SHA256[name] in str(caught.value)


def test_a_failed_download_says_from_where_and_where_to_put_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist.MNIST, "mirrors", ["http://127.0.0.1:9/mnist/"])  # nothing listens
    with pytest.raises(AdvdetectError) as caught:
        mnist.load(root=str(tmp_path))
    for part in ("http://127.0.0.1:9/mnist/", str(tmp_path / "MNIST" / "raw"), *mnist.SHA256):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
