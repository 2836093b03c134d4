"""The gallery: clean image, adversarial image and their difference."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.figures.plotting import Canvas, hide_axes, new_figure, styled
from advdetect.files.attack import AttackFile
from advdetect.io import read_rows
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_PER_BAND = 3  # attacks side by side
_TITLE_WIDTH = 18  # characters above an image of one inch


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
    files: RunFiles, *, examples: int = 4, own: bool = False, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw a few successes of each attack from files of attack and the test images.

    Args:
        files: The files.
        examples: How many of each attack.
        own: Whether only those attacks are shown that were crafted on the model itself.
        canvas: What makes the figure.
    """
    shown = []
    for path in files.paths:
        attack = AttackFile(path)
        if own and attack.facts["crafted_on"] != attack.facts["judged_on"]:
            continue
        names = np.array(attack.facts["class_names"])
        rows = np.flatnonzero(attack.column("success"))[:examples]
        labels = names[attack.column("label")[rows]].tolist()
        shown.append(
            GalleryExamples(
                attack=attack.name,
                clean=read_rows(files.data, "images", attack.column("index")[rows]) / 255,
                adversarial=attack.adversarial(rows),
                labels=labels,
                clean_predictions=labels,  # only clean-correct images are attacked
                adversarial_predictions=names[attack.column("prediction")[rows]].tolist(),
            )
        )
    return gallery_figure(shown, canvas=canvas)


def gallery_figure(
    attacks: Sequence[GalleryExamples], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw examples of each attack: one row per example, three columns per attack.

    The difference is amplified to the full colour range, red where the adversarial is brighter and
    blue where it is darker (the mean over channels for colour images); its title gives the factor
    and the L2 norm. Above a clean image stands its class, and after an arrow the prediction where
    it is another.

    Args:
        attacks: The examples; attacks with no example are left out.
        canvas: What makes the figure.

    Returns:
        Blocks of three columns, three attacks to a band.
    """
    shown = [examples for examples in attacks if len(examples.clean)]
    if not shown:
        raise AdvdetectError("There is no adversarial to show: the gallery is empty.")
    for examples in shown:
        _check(examples)
    across = min(_PER_BAND, len(shown))
    bands = [shown[start : start + across] for start in range(0, len(shown), across)]
    rows = [max(len(examples.clean) for examples in band) for band in bands]
    heights = [0.45 + 1.25 * n for n in rows]
    with styled():
        figure = canvas(3.5 * across, sum(heights))
        blocks = figure.subfigures(len(bands), across, squeeze=False, height_ratios=heights)
        for band, n_rows, line in zip(bands, rows, blocks, strict=True):
            for examples, block in zip(band, line, strict=False):
                block.suptitle(display_name(examples.attack), fontweight="bold", fontsize=11)
                grid = block.subplots(n_rows, 3, squeeze=False)
                for row, axes in enumerate(grid):
                    for axis in axes:
                        hide_axes(axis)
                        axis.set_title(" ", fontsize=8, pad=2)
                    if row < len(examples.clean):
                        _draw(axes, examples, row)
    return figure


def _check(examples: GalleryExamples) -> None:
    shape = examples.clean.shape
    if examples.adversarial.shape != shape or len(shape) != 4 or shape[1] not in (1, 3):
        raise AdvdetectError(
            f"The gallery of {examples.attack!r} needs clean and adversarial images of one shape "
            f"(N, 1 or 3, H, W), not {shape} and {examples.adversarial.shape}."
        )


def _draw(axes: Sequence[Axes], examples: GalleryExamples, row: int) -> None:
    clean, adversarial = examples.clean[row], examples.adversarial[row]
    difference = adversarial.astype(np.float64) - clean
    signed = difference.mean(axis=0)
    largest = float(np.abs(signed).max()) or 1.0
    label, prediction = examples.labels[row], examples.clean_predictions[row]
    titles = (
        label if prediction == label else f"{label} → {prediction}",
        f"→ {examples.adversarial_predictions[row]}",
        f"\N{MULTIPLICATION SIGN}{1 / largest:.3g}  L2 {np.linalg.norm(difference):.3g}",
    )
    heads = ("clean\n", "adversarial\n", "difference\n") if row == 0 else ("", "", "")
    for axis, image in zip(axes, (clean, adversarial), strict=False):
        colours = np.moveaxis(image, 0, -1)
        picture = colours[..., 0] if len(image) == 1 else colours
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes[2].imshow(signed, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    for axis, head, title in zip(axes, heads, titles, strict=True):
        axis.set_title(head + textwrap.fill(title, _TITLE_WIDTH), fontsize=8, pad=2)
