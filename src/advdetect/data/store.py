"""Keeping a split in one safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advdetect.data.split import ImageSplit
from advdetect.errors import AdvdetectError
from advdetect.io import read_tensors, write_tensors


def write_split(path: str | Path, split: ImageSplit, provenance: Mapping[str, Any]) -> None:
    """Write a split: its images, labels and, in the provenance, the names of its classes."""
    tensors = {"images": split.images, "labels": split.labels}
    write_tensors(path, tensors, {**provenance, "class_names": split.class_names})


def read_split(path: str | Path) -> ImageSplit:
    """Read a split that `write_split` wrote.

    Raises:
        AdvdetectError: The file is missing or damaged, or is no split.
    """
    tensors, provenance = read_tensors(path)
    if not {"images", "labels"} <= tensors.keys() or "class_names" not in provenance:
        raise AdvdetectError(f"{path} is no split of a data set: give a file from prepare-data.")
    return ImageSplit(tensors["images"], tensors["labels"], tuple(provenance["class_names"]))
