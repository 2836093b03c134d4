"""The images that excite single units of a hidden layer most, beside those of random directions."""

import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase
from numpy.typing import NDArray

from advdetect.figures.pictures import Block, Picture, draw_pictures, picture_of
from advdetect.figures.plotting import Canvas, new_figure
from advdetect.io import read_rows, read_table
from advdetect.runs import RunFiles

_ROWS = 8


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
    """Draw a row of images for each unit, and below them for each random direction.

    Args:
        table: The column direction, ``unit`` or ``random``.
        images: (rows, K, C, H, W) in [0, 1], the images of each row of the table.
        canvas: What makes the figure.
    """
    blocks = []
    for kind, title in (("unit", "Single units"), ("random", "Random directions")):
        shown = images[(table["direction"] == kind).to_numpy()]
        blocks.append(
            Block(title, [[Picture(picture_of(image)) for image in row] for row in shown])
        )
    return draw_pictures(blocks, columns=images.shape[1], canvas=canvas)
