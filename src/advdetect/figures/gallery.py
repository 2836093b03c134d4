"""The gallery: clean image, adversarial image and their difference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.figures.class_names import short_names
from advdetect.figures.pictures import (
    Block,
    Picture,
    difference_picture,
    draw_pictures,
    magnification,
    picture_of,
    times,
)
from advdetect.figures.plotting import Canvas, new_figure
from advdetect.files.attack import AttackFile
from advdetect.io import read_rows
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


@dataclass(frozen=True)
class GalleryExamples:
    """Examples of one attack.

    Attributes:
        attack: The attack's name.
        clean: (N, C, H, W) images in [0, 1], C = 1 or 3.
        adversarial: (N, C, H, W) adversarial images in [0, 1].
        labels: (N,) names of the true classes.
        clean_predictions: (N,) names of the classes predicted for the clean images.
        adversarial_predictions: (N,) names of the classes predicted for the adversarials.
    """

    attack: str
    clean: NDArray[np.floating]
    adversarial: NDArray[np.floating]
    labels: Sequence[str]
    clean_predictions: Sequence[str]
    adversarial_predictions: Sequence[str]


def draw(
    files: RunFiles,
    *,
    examples: int = 4,
    most: int = 12,
    own: bool = False,
    canvas: Canvas = new_figure,
) -> FigureBase:
    """Draw a few successes of each attack from files of attack and the test images.

    They are spread over all of them, since a folder's images are in the order of their classes.

    Args:
        files: The files.
        examples: How many of each attack.
        most: How many attacks; of more, some are chosen at equal distances.
        own: Whether only those attacks are shown that were crafted on the model itself.
        canvas: What makes the figure.
    """
    there = []
    for attack in map(AttackFile, files.paths):
        if own and attack.facts["crafted_on"] != attack.facts["judged_on"]:
            continue
        rows = np.flatnonzero(attack.column("success"))
        if len(rows):
            there.append((attack, rows[_spread(len(rows), examples)]))
    chosen = _spread(len(there), most)
    shown = [_read(*there[position], files.data) for position in chosen]
    few = f"{len(chosen)} of {len(there)} attacks; most={len(there)} shows all"
    note = few if len(chosen) < len(there) else ""
    return gallery_figure(shown, note=note, canvas=canvas)


def _spread(count: int, most: int) -> list[int]:
    """Return positions at equal distances, the first and the last among them; all of a few."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def _read(attack: AttackFile, rows: NDArray[np.integer], data: str) -> GalleryExamples:
    names = np.array(short_names(attack.facts["class_names"]))
    labels = names[attack.column("label")[rows]].tolist()
    return GalleryExamples(
        attack=attack.name,
        clean=read_rows(data, "images", attack.column("index")[rows]) / 255,
        adversarial=attack.adversarial(rows),
        labels=labels,
        clean_predictions=labels,  # only clean-correct images are attacked
        adversarial_predictions=names[attack.column("prediction")[rows]].tolist(),
    )


def gallery_figure(
    attacks: Sequence[GalleryExamples], *, note: str = "", canvas: Canvas = new_figure
) -> FigureBase:
    """Draw examples of each attack: one row of three pictures per example.

    The difference is magnified around mid-grey, each channel by itself, by one factor for all
    examples of an attack (`magnification`), which stands above the first; above each is its L2
    norm. Above a clean image stands its class, and after an arrow the prediction where it is
    another.

    Args:
        attacks: The examples; attacks with no example are left out.
        note: What stands below all of them.
        canvas: What makes the figure.

    Returns:
        The attacks, one below the other.

    Raises:
        AdvdetectError: There is no example, or its images are not of one shape.
    """
    shown = [examples for examples in attacks if len(examples.clean)]
    if not shown:
        raise AdvdetectError("There is no adversarial to show: the gallery is empty.")
    for examples in shown:
        _check(examples)
    blocks = [Block(display_name(examples.attack), _rows(examples)) for examples in shown]
    return draw_pictures(blocks, columns=3, note=note, canvas=canvas)


def _check(examples: GalleryExamples) -> None:
    shape = examples.clean.shape
    if examples.adversarial.shape != shape or len(shape) != 4 or shape[1] not in (1, 3):
        raise AdvdetectError(
            f"The gallery of {examples.attack!r} needs clean and adversarial images of one shape "
            f"(N, 1 or 3, H, W), not {shape} and {examples.adversarial.shape}."
        )


def _rows(examples: GalleryExamples) -> list[list[Picture]]:
    differences = examples.adversarial.astype(np.float64) - examples.clean
    magnified = magnification(differences)
    rows = []
    for row, difference in enumerate(differences):
        label, prediction = examples.labels[row], examples.clean_predictions[row]
        captions = [
            label if prediction == label else f"{label} → {prediction}",
            f"→ {examples.adversarial_predictions[row]}",
            f"L2 {np.linalg.norm(difference):.3g}",
        ]
        if row == 0:
            heads = ("clean", "adversarial", f"difference {times(magnified)}")
            captions = [f"{head}\n{own}" for head, own in zip(heads, captions, strict=True)]
        pixels = (
            picture_of(examples.clean[row]),
            picture_of(examples.adversarial[row]),
            difference_picture(difference, magnified),
        )
        rows.append([Picture(*both) for both in zip(pixels, captions, strict=True)])
    return rows
