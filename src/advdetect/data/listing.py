"""Folders of images by class: which images there are. None is opened, and no library is needed."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advdetect.errors import AdvdetectError, explain_unreadable

#: What is read, by the ends of their names; never EPS, for which Pillow runs Ghostscript.
SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".tif", ".tiff", ".webp", ".avif"),
    *(".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".qoi"),
)
#: The number of a class of ImageNet in WordNet.
WORDNET = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Layout:
    """What the folders of the splits may be called, the first that is there counts.

    Attributes:
        train: Names of the training images' folder.
        test: Names of the test images' folder.
    """

    train: Sequence[str]
    test: Sequence[str]

    def __str__(self) -> str:
        return (
            f"a folder of images must hold {self.train[0]}/<class>/<image> and "
            f"{self.test[0]}/<class>/<image>, the first unless nothing is trained"
        )


IMAGE_FOLDER = Layout(("train",), ("test", "val"))
#: Some versions are spelled as the former.
FRUITS360 = Layout(("Training", "train"), ("Test", "test"))


@dataclass(frozen=True)
class Listing:
    """The images of a split.

    Attributes:
        paths: Their files, class by class.
        labels: Number of the class of each.
        left_out: Files that are in no class, or no images by their names.
    """

    paths: list[Path] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class ListedFolder:
    """The images of a data set.

    Attributes:
        splits: Those for training, perhaps none, and for testing, by name.
        class_names: What readers see of each class.
    """

    splits: Mapping[str, Listing]
    class_names: tuple[str, ...]


def list_folder(root: Path, layout: Layout, class_file: str | None) -> ListedFolder:
    """Return the images below a folder; folders below a class count as part of it.

    Hidden files and folders do not count.

    Args:
        root: The folder.
        layout: What the folders of its splits may be called.
        class_file: Name of a file in it with the classes (`read_classes`), of which the test split
            may have only some. Without one the classes are the folders in alphabetical order,
            which both splits must have.

    Raises:
        AdvdetectError: A folder is missing or empty, or belongs to no class.
    """
    test = _first(root, layout.test)
    if test is None:
        raise AdvdetectError(f"The folder {root / layout.test[0]} does not exist: {layout}.")
    train = _first(root, layout.train)
    if class_file:
        classes = read_classes(root / class_file)
        if train is not None and (missing := classes.keys() - set(class_folders(train))):
            raise AdvdetectError(
                f"{train} has no folder {min(missing)}, a class of {class_file}: add its images, "
                "or remove its line."
            )
    else:
        folders = [class_folders(folder) for folder in (train, test) if folder is not None]
        if not all(folders):
            raise AdvdetectError(
                f"{test if not folders[-1] else train} holds no folders: {layout}."
            )
        if differing := sorted(set(folders[0]) ^ set(folders[-1])):
            raise AdvdetectError(
                f"{root}: {layout.train[0]} and {test.name} must hold the same class folders; only "
                f"one of them has {', '.join(differing)}."
            )
        classes = {name: name for name in folders[0]}
    splits = {
        "train": Listing() if train is None else list_classes(train, classes),
        "test": list_classes(test, classes),
    }
    return ListedFolder(splits, unique_names(classes))


def list_classes(folder: Path, classes: Iterable[str]) -> Listing:
    """Return the images of a split, in the order of classes, folders and names.

    Args:
        folder: Holds a folder of images for each class, or for some.
        classes: Names of the folders, in the order of their numbers.

    Raises:
        AdvdetectError: It has no folder, one of no class, or one without an image.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    there = class_folders(folder)
    if unknown := [name for name in there if name not in numbers]:
        raise AdvdetectError(
            f"{folder / unknown[0]} is none of the {len(numbers)} classes: name it in the file of "
            "the classes, or remove the folder."
        )
    if not there:
        raise AdvdetectError(f"{folder} holds no folder of a class: it must hold <class>/<image>.")
    listing = Listing(left_out=sorted(path for path in folder.iterdir() if not path.is_dir()))
    for name in sorted(there, key=numbers.__getitem__):
        before = len(listing.paths)
        for path in _files(folder / name):
            (listing.paths if is_image(path) else listing.left_out).append(path)
        count = len(listing.paths) - before
        if not count:
            raise AdvdetectError(
                f"The class folder {folder / name} holds no image: add some, or remove it."
            )
        listing.labels.extend([numbers[name]] * count)
    return listing


def class_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, but for hidden ones, in alphabetical order."""
    with os.scandir(folder) as entries:  # which knows without a look at each of 50,000 files
        return sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())


def read_classes(path: Path) -> dict[str, str]:
    """Return what readers see of each class by its folder, in the order of a file's lines.

    A line is the folder's name and perhaps, behind a tab, what readers see; behind a number of
    WordNet a space will do, as in ImageNet's own lists.

    Raises:
        AdvdetectError: The file is missing or damaged, or names a class twice or none.
    """
    classes: dict[str, str] = {}
    for line in read_lines(path):
        mark = "\t" if "\t" in line or not WORDNET.match(line) else " "
        folder, _, name = (part.strip() for part in line.partition(mark))
        if folder in classes:
            raise AdvdetectError(f"{path} names the class {folder} twice: remove one line.")
        classes[folder] = name or folder
    if not classes:
        raise AdvdetectError(f"{path} names no class: it must hold the folder of one in each line.")
    return classes


def read_lines(path: Path) -> list[str]:
    """Return what a text file of the user's has in its lines, but for empty ones.

    Raises:
        AdvdetectError: The file is missing or damaged.
    """
    with explain_unreadable(path):
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # perhaps from a spreadsheet
    return [line.strip() for line in lines if line.strip()]


def unique_names(classes: Mapping[str, str]) -> tuple[str, ...]:
    """Return what readers see of each class, with its folder behind what two are called."""
    counts = Counter(classes.values())
    return tuple(
        name if counts[name] == 1 else f"{name} ({folder})" for folder, name in classes.items()
    )


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its name."""
    return _is_shown(path) and path.suffix.lower() in SUFFIXES


def _first(root: Path, names: Iterable[str]) -> Path | None:
    return next((root / name for name in names if (root / name).is_dir()), None)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, in the order of their folders' and their own names."""
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if _is_shown(Path(name)))
        yield from (Path(parent, name) for name in sorted(names))


def _is_shown(path: Path) -> bool:
    return not path.name.startswith(".")
