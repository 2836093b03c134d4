"""Figure of the Fisher information sensitivity (Martin & Elster 2019, Figure 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.figures.pictures import (
    Block,
    Picture,
    difference_picture,
    draw_pictures,
    magnification,
    overlay,
    picture_of,
    times,
)
from advdetect.figures.plotting import Canvas, new_figure
from advdetect.io import read_arrays, read_provenance
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name


@dataclass(frozen=True)
class SensitivityExamples:
    """Examples of one attack.

    Attributes:
        attack: The attack's name.
        clean: (N, C, H, W) images in [0, 1], C = 1 or 3.
        adversarial: (N, C, H, W) adversarial images in [0, 1].
        clean_sensitivity: (N, C, H, W) map of the clean images, divided by its peak.
        adversarial_sensitivity: The same of the adversarial images.
        clean_log10_peak: (N,) log10 of the largest absolute value of each map.
        adversarial_log10_peak: The same of the adversarial images.
    """

    attack: str
    clean: NDArray[np.floating]
    adversarial: NDArray[np.floating]
    clean_sensitivity: NDArray[np.floating]
    adversarial_sensitivity: NDArray[np.floating]
    clean_log10_peak: NDArray[np.floating]
    adversarial_log10_peak: NDArray[np.floating]


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw it from files of sensitivity."""
    names = [field.name for field in fields(SensitivityExamples) if field.name != "attack"]
    examples = [
        SensitivityExamples(read_provenance(path)["attack"], **read_arrays(path, names))
        for path in files.paths
    ]
    return sensitivity_figure(examples, canvas=canvas)


def sensitivity_figure(
    attacks: Sequence[SensitivityExamples], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw the absolute sensitivity of each pixel over the image, two rows of three per example.

    Above, the original, the adversarial image and their difference, magnified as in the gallery.
    Below, the map of the original in its own scale, in that of the adversarial's, and the map of
    the adversarial image, each over its image in grey. For colour images the largest of a pixel's
    channels is drawn. The largest value of each map is above it.

    Args:
        attacks: The examples; attacks with no example are left out.
        canvas: What makes the figure.

    Raises:
        AdvdetectError: There is no example.
    """
    shown = [examples for examples in attacks if len(examples.clean)]
    if not shown:
        raise AdvdetectError("There is no adversarial to show the sensitivity of.")
    blocks = [Block(display_name(examples.attack), _rows(examples)) for examples in shown]
    return draw_pictures(blocks, columns=3, canvas=canvas)


def _rows(examples: SensitivityExamples) -> list[list[Picture]]:
    differences = examples.adversarial.astype(np.float64) - examples.clean
    magnified = magnification(differences)
    rows = []
    for row, difference in enumerate(differences):
        rows.append(
            [
                Picture(picture_of(examples.clean[row]), "original"),
                Picture(picture_of(examples.adversarial[row]), "adversarial"),
                Picture(
                    difference_picture(difference, magnified), f"difference {times(magnified)}"
                ),
            ]
        )
        rows.append(_maps(examples, row))
    return rows


def _maps(examples: SensitivityExamples, row: int) -> list[Picture]:
    clean, adversarial = examples.clean[row], examples.adversarial[row]
    own = _per_pixel(examples.clean_sensitivity[row])
    of_it = _per_pixel(examples.adversarial_sensitivity[row])
    peak, peak_of_it = examples.clean_log10_peak[row], examples.adversarial_log10_peak[row]
    # Saturated where the original's is the larger one; peaks are hundreds of decades apart.
    same = np.minimum(own * 10.0 ** min(peak - peak_of_it, 300.0), 1.0)
    return [
        Picture(overlay(clean, own), f"FIS of original\n{_power(peak)}"),
        Picture(overlay(clean, same), "the same, in scale\nof the adversarial's"),
        Picture(overlay(adversarial, of_it), f"FIS of adversarial\n{_power(peak_of_it)}"),
    ]


def _power(log10: float) -> str:
    return f"up to 10^{log10:.1f}".replace("-", "−")


def _per_pixel(sensitivity: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the largest absolute sensitivity of the channels (C, H, W) of each pixel."""
    return np.asarray(np.abs(sensitivity).max(axis=0))
