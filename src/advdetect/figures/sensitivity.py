"""Figure of the Fisher information sensitivity (Martin & Elster 2019, Figure 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.errors import AdvdetectError
from advdetect.figures.plotting import Canvas, hide_axes, new_figure, styled
from advdetect.io import read_arrays, read_provenance
from advdetect.runs import RunFiles
from advdetect.tables.names import display_name

_HEADS = (
    "adversarial",
    "FIS of it",
    "FIS of original,\nsame scale",
    "FIS of original,\nown scale",
    "difference",
)


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
    """Draw the absolute sensitivity of each pixel over the image, one row per example.

    Columns: the adversarial image, its map, the map of the original in the colours of the
    adversarial's, then in its own, and the difference of the images (red where the adversarial is
    brighter). For colour images the largest of the channels is drawn. The numbers above the maps
    are log10 of their peaks.

    Args:
        attacks: The examples; attacks with no example are left out.
        canvas: What makes the figure.

    Raises:
        AdvdetectError: There is no example.
    """
    shown = [examples for examples in attacks if len(examples.clean)]
    if not shown:
        raise AdvdetectError("There is no adversarial to show the sensitivity of.")
    heights = [0.75 + 1.2 * len(examples.clean) for examples in shown]
    with styled():
        figure = canvas(6.4, sum(heights))
        blocks = figure.subfigures(len(shown), 1, squeeze=False, height_ratios=heights)
        for examples, (block,) in zip(shown, blocks, strict=True):
            block.suptitle(display_name(examples.attack), fontweight="bold", fontsize=11)
            grid = block.subplots(len(examples.clean), len(_HEADS), squeeze=False)
            for row, axes in enumerate(grid):
                _draw(axes, examples, row)
    return figure


def _draw(axes: Sequence[Axes], examples: SensitivityExamples, row: int) -> None:
    clean, adversarial = examples.clean[row], examples.adversarial[row]
    own = np.abs(examples.clean_sensitivity[row]).max(axis=0)
    map_of_it = np.abs(examples.adversarial_sensitivity[row]).max(axis=0)
    peak, peak_of_it = examples.clean_log10_peak[row], examples.adversarial_log10_peak[row]
    # Saturated where the original's is the larger one; peaks are hundreds of decades apart.
    same = np.minimum(own * 10.0 ** min(peak - peak_of_it, 300.0), 1.0)
    _show(axes[0], adversarial)
    for axis, image, weight in (
        (axes[1], adversarial, map_of_it),
        (axes[2], clean, same),
        (axes[3], clean, own),
    ):
        _show(axis, image, alpha=0.35)
        axis.imshow(weight, cmap="inferno", vmin=0, vmax=1, alpha=_opacity(weight))
    difference = (adversarial.astype(np.float64) - clean).mean(axis=0)
    largest = float(np.abs(difference).max()) or 1.0
    axes[4].imshow(difference, cmap="RdBu_r", vmin=-largest, vmax=largest)
    titles = ("", f"{peak_of_it:.1f}", f"{peak:.1f}", f"{peak:.1f}", "")
    for axis, head, title in zip(axes, _HEADS, titles, strict=True):
        hide_axes(axis)
        lines = [head] * (row == 0) + [title]
        axis.set_title("\n".join(lines), fontsize=8, pad=2)


def _show(axis: Axes, image: NDArray[np.floating], alpha: float = 1.0) -> None:
    colours = np.moveaxis(image, 0, -1)
    picture = colours[..., 0] if len(image) == 1 else colours
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, alpha=alpha, interpolation="nearest")


def _opacity(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return how opaque a map is drawn: its lowest values let the image shine through."""
    return np.sqrt(weight).clip(0.15, 1.0)
