"""Weights that a library publishes: downloaded, or a file placed by hand, checked either way."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch

from advdetect.errors import AdvdetectError, one_line
from advdetect.imports import locate
from advdetect.progress import report
from advdetect.requirements.training import FROM_WEIGHTS
from advdetect.requirements.weights import PUBLISHED, say_other_classes

#: Where they are kept unless `model.weights_root` says otherwise.
ROOT = "data/weights"
# How torchvision and timm name files: behind a hyphen the first digits of the SHA-256.
_CHECKSUM = re.compile(r"-([0-9a-f]{8,64})\.\w+$")


@dataclass(frozen=True)
class Published:
    """A file of weights on the web.

    Attributes:
        url: Its address, whose last part ends with the first digits of the file's SHA-256.
        classes: How many classes the weights are of.
    """

    url: str
    classes: int


def has_checksum(url: str) -> bool:
    """Return whether an address says what the file's SHA-256 begins with."""
    return _CHECKSUM.search(url) is not None


def named_weights(
    name: str,
    model: Mapping[str, Any],
    arguments: Mapping[str, Any],
    classes: int,
    root: str | None = None,
) -> Path:
    """Return the file of weights that a model's library publishes under a name.

    Args:
        name: What ``model.weights`` says, such as ``pretrained``.
        model: Specification of the model, whose ``_published_`` says what the library publishes.
        arguments: The model's arguments, numbers in place of ``auto``.
        classes: How many classes the data has.
        root: Folder that holds, or will hold, the file; None for `ROOT`.

    Raises:
        AdvdetectError: There are no such weights, they are of another number of classes and used as
            they are, the download fails, or the file is not the published one.
    """
    found: Published = locate(model[PUBLISHED])(name, **arguments)
    if found.classes != classes and FROM_WEIGHTS not in (model.get("training") or {}):
        raise AdvdetectError(f"model.weights: {say_other_classes(name, found.classes, classes)}")
    return fetch(found.url, root or ROOT)


def fetch(url: str, root: str | Path) -> Path:
    """Return a file that is published with its checksum; download it where the folder lacks it.

    Args:
        url: As of `Published`.
        root: The folder.

    Raises:
        AdvdetectError: The download fails, or the file is not the published one.
    """
    path = Path(root) / url.rpartition("/")[2]
    match = _CHECKSUM.search(path.name)
    assert match is not None
    beginning = match[1]
    by_hand = (
        f"Place the file {path.name} in {path.parent.resolve()} by hand, or name another folder "
        f"with model.weights_root."
    )
    if not path.is_file():
        report(f"train: downloading {url}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), beginning, progress=False)
        except (OSError, RuntimeError, HTTPException) as error:  # RuntimeError: its checksum
            raise AdvdetectError(
                f"model.weights: {url} could not be downloaded ({one_line(error)}). {by_hand}"
            ) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(beginning):
        raise AdvdetectError(
            f"model.weights: {path} is not the published file: its SHA-256 is {found}, and would "
            f"begin with {beginning}. Delete it to download it again. {by_hand}"
        )
    return path
