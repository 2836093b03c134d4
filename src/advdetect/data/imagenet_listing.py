"""The validation images of ILSVRC-2012: in folders by class, or in one beside their labels."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from advdetect.data.listing import (
    WORDNET,
    ListedFolder,
    Listing,
    class_folders,
    is_image,
    list_classes,
    read_classes,
    read_lines,
    unique_names,
)
from advdetect.errors import AdvdetectError, explain_unreadable

#: The folder of the images.
VALIDATION = "val"
_DEVKIT = "ILSVRC2012_devkit_t12/data/"
#: The development kit's labels, a number of its own in each line.
_GROUND_TRUTH = f"{_DEVKIT}ILSVRC2012_validation_ground_truth.txt"
_META = f"{_DEVKIT}meta.mat"
#: Files that are looked for: Kaggle's, Caffe's, TensorFlow's and the development kit's.
LABEL_FILES = (
    *("LOC_val_solution.csv", "val.txt", "imagenet_2012_validation_synset_labels.txt"),
    _GROUND_TRUTH,
)
CLASS_FILES = ("classes.txt", "LOC_synset_mapping.txt", "synset_words.txt")
_LAYOUT = (
    f"ImageNet must hold {VALIDATION}/<wnid>/<image>, or {VALIDATION}/<image> and a file of the "
    "labels"
)


def list_imagenet(root: Path, class_file: str | None, labels_file: str | None) -> ListedFolder:
    """Return the validation images; the classes are numbered by their sorted WordNet numbers.

    Args:
        root: Folder that holds ``val/<wnid>/<image>``, or ``val/<image>`` and a file of labels.
        class_file: Name of a file in it with all classes (`read_classes`), of which the images may
            be of some; None: the first of `CLASS_FILES`, the development kit, or the classes of
            the images.
        labels_file: Name of a file in it with the labels of images in one folder: the WordNet
            number or the number of the class from 0 behind each image's name, or the WordNet number
            of each image in order; None: the first of `LABEL_FILES`.

    Raises:
        AdvdetectError: A folder or file is missing, or an image has no label or one of no class.
    """
    folder = root / VALIDATION
    if not folder.is_dir():
        raise AdvdetectError(f"The folder {folder} does not exist: {_LAYOUT}.")
    classes = _classes(root, class_file)
    found = class_folders(folder)
    if found:
        classes = classes or {wordnet: wordnet for wordnet in found}
        images = list_classes(folder, classes)
    else:
        with os.scandir(folder) as entries:
            files = sorted(Path(entry.path) for entry in entries if entry.is_file())
        images = Listing([path for path in files if is_image(path)])
        images.left_out.extend(path for path in files if not is_image(path))
        if not images.paths:
            raise AdvdetectError(f"{folder} holds no image: {_LAYOUT}.")
        labels = _labels(root, labels_file, images.paths, list(classes))
        classes = classes or {wordnet: wordnet for wordnet in sorted(set(labels))}
        numbers = {wordnet: number for number, wordnet in enumerate(classes)}
        for path, label in zip(images.paths, labels, strict=True):
            if label not in numbers:
                raise AdvdetectError(
                    f"{path} has the label {label}, which is none of the {len(numbers)} classes: "
                    "correct the file of the labels or that of the classes."
                )
            images.labels.append(numbers[label])
    return ListedFolder({"train": Listing(), "test": images}, unique_names(classes))


def _classes(root: Path, class_file: str | None) -> dict[str, str]:
    """Return the first of each class's names by its WordNet number, in order; none if not known."""
    name = class_file or next((name for name in CLASS_FILES if (root / name).is_file()), None)
    if name:
        classes = read_classes(root / name)
    elif (root / _META).is_file():
        classes = dict(_devkit_classes(root / _META).values())
    else:
        return {}
    return {wordnet: name.split(",")[0] for wordnet, name in sorted(classes.items())}


def _labels(
    root: Path, labels_file: str | None, images: Sequence[Path], classes: Sequence[str]
) -> list[str]:
    """Return the WordNet number of each image's class."""
    name = labels_file or next((name for name in LABEL_FILES if (root / name).is_file()), None)
    if name is None:
        raise AdvdetectError(
            f"{root} has no labels of the images in {VALIDATION}: put one of "
            f"{', '.join(LABEL_FILES)} there, or name a file with dataset.labels_file."
        )
    path = root / name
    lines = [re.split(r"[,\t ]+", line) for line in read_lines(path)]
    if name == _GROUND_TRUTH:
        wordnets = {str(number): pair[0] for number, pair in _devkit_classes(root / _META).items()}
        return [wordnets.get(label, label) for label in _in_order(path, lines, images)]
    if all(len(line) == 1 for line in lines):
        labels = _in_order(path, lines, images)
        if numbers := [label for label in labels if label.isdigit()]:
            raise AdvdetectError(
                f"{path} has numbers such as {numbers[0]} alone, whose meaning only the "
                f"development kit says: unpack it, so that {_META} is in {root}, and leave "
                "labels_file out."
            )
        return labels
    by_name = {Path(line[0]).stem: line[1] for line in lines if len(line) > 1}
    if missing := [image for image in images if image.stem not in by_name]:
        raise AdvdetectError(f"{path} has no label of {missing[0]}: add it, or remove the image.")
    return [_of_number(by_name[image.stem], classes) for image in images]


def _in_order(path: Path, lines: Sequence[Sequence[str]], images: Sequence[Path]) -> list[str]:
    """Return the line for each image, whose name ends with its number from 1."""
    labels = []
    for image in images:
        number = re.search(r"\d+$", image.stem)
        if number is None or not 0 < int(number[0]) <= len(lines):
            raise AdvdetectError(
                f"{path} has {len(lines)} labels in the order of the images, and {image} is none "
                "of these by its name: take the list that belongs to the images, or one with "
                "their names."
            )
        labels.append(lines[int(number[0]) - 1][0])
    return labels


def _of_number(label: str, classes: Sequence[str]) -> str:
    """Return the WordNet number of a label, which may be the number of the class from 0."""
    if WORDNET.fullmatch(label) or not label.isdigit():
        return label
    if not classes:
        raise AdvdetectError(
            f"The label {label} is the number of a class, and which classes there are is not "
            f"known: name a file of them with dataset.class_file, such as {CLASS_FILES[1]}."
        )
    return classes[int(label)] if int(label) < len(classes) else label


def _devkit_classes(path: Path) -> Mapping[int, tuple[str, str]]:
    """Return WordNet number and names of the classes by the development kit's own numbers."""
    from scipy.io import loadmat  # only where there is no other list

    with explain_unreadable(path):
        synsets = loadmat(path, squeeze_me=True)["synsets"]
        fields = ("ILSVRC2012_ID", "WNID", "words", "num_children")
        rows = zip(*(synsets[name].tolist() for name in fields), strict=True)
        return {int(number): (str(w), str(n)) for number, w, n, children in rows if not children}
