"""The images that excite single units of a hidden layer most, beside those of random directions."""

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.figures.plotting import Canvas, hide_axes, new_figure, styled
from advdetect.io import read_rows, read_table
from advdetect.runs import RunFiles

_ROWS = 8
_SIDE = 0.42  # inches of an image


def draw(files: RunFiles, *, canvas: Canvas = new_figure) -> FigureBase:
    """Draw the first units and directions of the trained network, of files of units."""
    (path,) = files.paths
    table = read_table(path)
    shown = table[(table["network"] == "trained") & (table["number"] < _ROWS)]
    columns = [name for name in shown if str(name).startswith("image_")]
    index = shown[columns].to_numpy()
    images = read_rows(files.data, "images", index.ravel()) / 255
    return unit_images(shown, images.reshape(*index.shape, *images.shape[1:]), canvas=canvas)


def unit_images(
    table: pd.DataFrame, images: NDArray[np.floating], *, canvas: Canvas = new_figure
) -> FigureBase:
    """Draw a row of images for each unit, and beside them for each random direction.

    Args:
        table: The column direction, ``unit`` or ``random``.
        images: (rows, K, C, H, W) in [0, 1], the images of each row of the table.
        canvas: What makes the figure.
    """
    blocks = [
        (title, images[(table["direction"] == kind).to_numpy()])
        for kind, title in (("unit", "Single units"), ("random", "Random directions"))
    ]
    across, down = images.shape[1], max(len(rows) for _, rows in blocks)
    with styled():
        figure = canvas(2 * across * _SIDE + 0.4, down * _SIDE + 0.4)
        parts = figure.subfigures(1, 2, squeeze=False)[0]
        for (title, rows), part in zip(blocks, parts, strict=True):
            part.suptitle(title, fontsize=10)
            grid = part.subplots(down, across, squeeze=False)
            for axis in grid.flat:
                hide_axes(axis)
            for axes, row in zip(grid, rows, strict=False):
                for axis, image in zip(axes, row, strict=True):
                    colours = np.moveaxis(image, 0, -1)
                    picture = colours[..., 0] if len(image) == 1 else colours
                    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    return figure
