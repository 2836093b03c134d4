"""The networks of the benchmarks, trained for a moment where there is data."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import MNIST, ImageFolder
from torchvision.transforms.functional import pil_to_tensor

from advdetect.models.lenet5 import LeNet5

#: Images to train on, and passes over them: a minute at most, but no longer random weights.
_TRAINING = {"lenet5": (12_000, 2), "vgg": (2_000, 3)}
_SHAPES = {"lenet5": (1, 28, 28), "vgg": (3, 32, 32)}


class ShallowVGG(nn.Sequential):
    """VGG-16 without its last six convolutions, for 32×32 colour images: 10.0 M weights."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for stage in ((64, 64), (128, 128), (256, 256, 256)):
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        layers += [nn.Flatten(), nn.Linear(4096, 1792), nn.ReLU(), nn.Linear(1792, 512), nn.ReLU()]
        super().__init__(*layers, nn.Linear(512, 10))


def prepare(name: str, data: Path | None, count: int) -> tuple[nn.Module, Tensor, str]:
    """Return a model in eval mode, test images, and a sentence that says what they are.

    Args:
        name: "lenet5" or "vgg".
        data: Folder that holds ``MNIST/raw`` (lenet5) or ``train/<class>/`` and ``test/<class>/``
            of 32×32 images (vgg); None for random weights and images.
        count: Number of images.
    """
    torch.manual_seed(0)
    model = LeNet5() if name == "lenet5" else ShallowVGG()
    if data is None:
        return model.eval(), torch.rand(count, *_SHAPES[name]), "random weights and random images"
    size, epochs = _TRAINING[name]
    images, labels = _load(name, data, train=True, count=size)
    _train(model, images, labels, epochs)
    tests, truth = _load(name, data, train=False, count=max(count, 500))
    with torch.no_grad():
        hits = torch.cat([model(part).argmax(1) for part in tests[:500].split(100)]) == truth[:500]
    accuracy = hits.float().mean()
    return model, tests[:count], f"trained on {size} images, {accuracy:.0%} accurate"


def prepare_lenet5(
    data: Path, count: int, training: int = 60_000, epochs: int = 4
) -> tuple[nn.Module, Tensor, Tensor, str]:
    """Train LeNet-5 on MNIST, by default for half a minute, and return what there is to attack.

    Args:
        data: Folder that holds ``MNIST/raw``.
        count: Number of images.
        training: Number of images to train on.
        epochs: Passes over them.

    Returns:
        As `prepare_attacked`.
    """
    return prepare_attacked("lenet5", data, count, training, epochs, torch.device("cpu"))


def prepare_attacked(
    name: str, data: Path, count: int, training: int, epochs: int, device: torch.device
) -> tuple[nn.Module, Tensor, Tensor, str]:
    """Train a network and return what there is to attack.

    Args:
        name: "lenet5" or "vgg".
        data: As of `prepare`.
        count: Number of images.
        training: Number of images to train on.
        epochs: Passes over them.
        device: Where all of it is.

    Returns:
        The model in eval mode, the first test images that it classifies correctly, their labels,
        and a sentence that says what they are.
    """
    torch.manual_seed(0)
    model = (LeNet5() if name == "lenet5" else ShallowVGG()).to(device)
    images, labels = (part.to(device) for part in _load(name, data, train=True, count=training))
    _train(model, images, labels, epochs)
    # VGG takes a hundred times as long.
    tested = 10_000 if name == "lenet5" else 10 * count
    tests, truth = (part.to(device) for part in _load(name, data, train=False, count=tested))
    with torch.no_grad():
        hits = torch.cat([model(part).argmax(1) for part in tests.split(100)]) == truth
    accuracy = hits.float().mean()
    sentence = f"trained on {len(images)} images, {accuracy:.1%} accurate"
    return model, tests[hits][:count], truth[hits][:count], sentence


def _load(name: str, root: Path, train: bool, count: int) -> tuple[Tensor, Tensor]:
    if name == "lenet5":
        digits = MNIST(str(root), train=train)
        return digits.data[:count, None] / 255, digits.targets[:count]
    folder = ImageFolder(str(root / ("train" if train else "test")), transform=pil_to_tensor)
    order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(0))[:count]
    images, labels = zip(*(folder[index] for index in order.tolist()), strict=True)
    return torch.stack(images) / 255, torch.tensor(labels)


def _train(model: nn.Module, images: Tensor, labels: Tensor, epochs: int) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    optimizer.zero_grad()
    model.eval()
