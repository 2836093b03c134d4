"""Weights that a library publishes, from a server of the test's own."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from advdetect.errors import AdvdetectError
from advdetect.models.published import Published, fetch, named_weights

CONTENT = b"These are the weights."
NAME = f"tiny-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Handler(SimpleHTTPRequestHandler):
    """Says nothing of what it is asked for."""

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """Serve a folder; yield it with its address, and what ends the serving."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


def test_a_file_is_downloaded_once(server, tmp_path):
    folder, address = server
    (folder / NAME).write_bytes(CONTENT)
    root = tmp_path / "data" / "weights"
    path = fetch(address + NAME, root)
    assert path.read_bytes() == CONTENT
    (folder / NAME).unlink()
    assert fetch(address + NAME, root) == path
    assert list(root.iterdir()) == [path]


def test_a_file_that_was_placed_by_hand_is_used(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert fetch(f"http://127.0.0.1:9/{NAME}", tmp_path) == tmp_path / NAME  # nothing listens


@pytest.mark.parametrize("served", [None, b"Others."])
def test_a_failed_download_says_from_where_and_where_to_put_the_file(server, tmp_path, served):
    folder, address = server
    if served:
        (folder / NAME).write_bytes(served)
    with pytest.raises(AdvdetectError) as caught:
        fetch(address + NAME, tmp_path / "weights")
    said = str(caught.value)
    for part in (address + NAME, "invalid hash value" if served else "404", "model.weights_root"):
        assert part in said
    assert f"Place the file {NAME} in {tmp_path / 'weights'} by hand" in said
    assert "\n" not in said
    assert not any((tmp_path / "weights").iterdir())


def test_another_file_of_that_name_is_refused(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    with pytest.raises(AdvdetectError, match="is not the published file: its SHA-256 is ") as said:
        fetch(f"http://127.0.0.1:9/{NAME}", tmp_path)
    assert hashlib.sha256(CONTENT[:-1]).hexdigest() in str(said.value)


def published(weights, *, name):
    """What a library of one's own publishes: a file for 1,000 classes."""
    return Published(f"http://127.0.0.1:9/{name}", 1000)


def test_weights_that_are_used_as_they_are_are_of_the_classes_of_the_data(tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    spec = {"_published_": f"{__name__}.published", "training": {"epochs": 1}}
    arguments = {"name": NAME}
    assert named_weights("best", spec, arguments, 1000, str(tmp_path)) == tmp_path / NAME
    with pytest.raises(AdvdetectError, match="best is of 1000 classes, but the data has 10: "):
        named_weights("best", spec, arguments, 10, str(tmp_path))
    tuned = spec | {"training": {"_weights_": "start"}}
    assert named_weights("best", tuned, arguments, 10, str(tmp_path)) == tmp_path / NAME


def test_the_served_file_is_what_the_step_loads(server, tmp_path, monkeypatch):
    """A network of torchvision, its weights by name; of ten classes, as the digits are."""
    from torchvision import models

    from advdetect.models.libraries import torchvision as library
    from advdetect.models.weights import load_weights

    folder, address = server
    theirs = models.get_model("shufflenet_v2_x0_5", num_classes=10).eval()
    torch.save(theirs.state_dict(), folder / "file")
    digest = hashlib.sha256((folder / "file").read_bytes()).hexdigest()
    name = f"shufflenet-{digest[:8]}.pth"
    (folder / "file").rename(folder / name)
    weights = models.ShuffleNet_V2_X0_5_Weights.DEFAULT.value
    monkeypatch.setattr(weights, "url", address + name)
    monkeypatch.setitem(weights.meta, "categories", list("abcdefghij"))
    arguments = {"name": "shufflenet_v2_x0_5", "num_classes": 10, "in_channels": 3}
    spec = {"_published_": f"{library.__name__}.published"}
    path = named_weights("IMAGENET1K_V1", spec, arguments, 10, str(tmp_path))
    model = library.classifier(**arguments)
    load_weights(model, path)
    for name, values in theirs.state_dict().items():
        assert torch.equal(model.state_dict()[f"net.{name}"], values)
