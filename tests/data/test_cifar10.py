"""CIFAR-10 from a server of our own, from files placed by hand, and whatever is not CIFAR-10."""

import hashlib
import io
import tarfile
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

from advdetect.data import cifar10
from advdetect.data.reading import with_images
from advdetect.errors import AdvdetectError

RECORDS = 20


def load(root, image_size=32):
    return cifar10.load(root=str(root), image_size=image_size, interpolation="bilinear")


@pytest.fixture(scope="module")
def batches():
    """The published files, each of 20 records: a label, then red, green and blue."""
    generator = np.random.default_rng(0)
    files = {}
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        labels = generator.permutation(np.arange(RECORDS) % 10)[:, None]
        pixels = generator.integers(0, 256, (RECORDS, 3072))
        files[name] = np.hstack([labels, pixels]).astype(np.uint8)
    return files


@pytest.fixture
def archive(batches, tmp_path, monkeypatch):
    """The archive on a server, of which there is no other mirror; return its path."""
    path = tmp_path / "server" / cifar10.ARCHIVE
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as packed:
        for name, records in batches.items():
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = records.nbytes
            packed.addfile(member, io.BytesIO(records.tobytes()))
    monkeypatch.setattr(cifar10, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar10, "MD5", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setattr(cifar10, "MIRRORS", [])
    return path


@pytest.fixture
def server(archive, monkeypatch):
    """Serve the archive from the second of two mirrors."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=archive.parent)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(cifar10, "MIRRORS", [f"{address}nothing/", address])
        yield address
        server.shutdown()


def test_it_is_downloaded_once_and_unpacked(server, batches, tmp_path, monkeypatch):
    root = tmp_path / "data"
    splits = load(root)
    records = np.vstack([batches[f"data_batch_{number}.bin"] for number in range(1, 6)])
    assert splits["train"].labels.tolist() == records[:, 0].tolist()
    images = splits["train"].images.flatten(1).numpy()
    np.testing.assert_array_equal(images, records[:, 1:])
    assert splits["test"].images.shape == (RECORDS, 3, 32, 32)
    red = batches["test_batch.bin"][3, 1:1025].reshape(32, 32)
    np.testing.assert_array_equal(splits["test"].images[3, 0].numpy(), red)
    monkeypatch.setattr(cifar10, "MIRRORS", [])
    assert load(root)["test"].labels.tolist() == splits["test"].labels.tolist()
    assert not [path for path in root.iterdir() if path.suffix == ".part"]


def test_an_archive_placed_by_hand_is_used(archive, tmp_path):
    assert len(load(archive.parent)["train"]) == 5 * RECORDS
    archive.unlink()  # what was unpacked is enough
    assert load(archive.parent)["test"].class_names[6] == "frog"


def test_another_size_is_made_of_the_chosen_images(archive, tmp_path):
    small, large = load(archive.parent)["test"], load(archive.parent, 48)["test"]
    read = with_images(large, 2, tmp_path).images
    assert read.shape == (RECORDS, 3, 48, 48)
    original = Image.fromarray(small.images[5].permute(1, 2, 0).numpy())
    expected = np.asarray(v2.Resize(48)(original))
    np.testing.assert_array_equal(read[5].permute(1, 2, 0).numpy(), expected)


def test_a_damaged_archive_is_refused_with_both_checksums(archive):
    published = cifar10.MD5
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(AdvdetectError, match=f"expected {published}. Delete it to download it"):
        load(archive.parent)
    assert list(archive.parent.glob(f"{cifar10.FOLDER}/*")) == []


def test_a_damaged_download_is_refused_and_leaves_nothing(server, archive, tmp_path):
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(AdvdetectError) as error:
        load(tmp_path / "data")
    for part in (f"{server}nothing/: ", f"{server}: ", str(tmp_path / "data"), cifar10.ARCHIVE):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert [path.suffix for path in (tmp_path / "data").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content[:-1], "it has 61459 bytes, expected 61460. Delete it"),
        (lambda content: bytes([99]) + content[1:], "expected 2 of each of 10"),
        (lambda content: bytes([content[0] ^ 1]) + content[1:], "have 1 to 3 images, expected 2"),
    ],
)
def test_unpacked_files_that_are_not_the_published_ones_are_refused(archive, change, said):
    load(archive.parent)
    path = archive.parent / cifar10.FOLDER / "test_batch.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(AdvdetectError, match=said):
        load(archive.parent)
