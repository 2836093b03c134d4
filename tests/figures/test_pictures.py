import matplotlib as mpl
import numpy as np
import pytest

from advdetect.figures.pictures import (
    WIDTH,
    Block,
    Picture,
    difference_picture,
    draw_pictures,
    magnification,
    overlay,
)


@pytest.mark.parametrize(
    ("sizes", "factor"),
    [
        ([0.25], 2),
        ([0.26], 1),
        ([1.0], 0.5),
        ([8 / 255], 8),
        ([-1 / 255], 64),
        ([0.0], 1),
        ([0.0] * 900 + [1 / 16] * 199 + [1.0], 8),  # one of 200 changed values is cut off
        ([0.0] * 900 + [1 / 16] * 90 + [1.0] * 10, 0.5),
    ],
)
def test_differences_are_magnified_by_powers_of_two(sizes: list[float], factor: float) -> None:
    assert magnification(np.array(sizes)) == factor


def test_a_difference_lies_around_mid_grey_in_each_channel() -> None:
    difference = np.array([0.0, 1 / 16, -1.0])[:, None, None]
    np.testing.assert_array_equal(difference_picture(difference, 4.0), [[[0.5, 0.75, 0.0]]])
    assert difference_picture(difference[:1], 4.0).tolist() == [[0.5]]


def test_a_map_lies_over_a_pale_grey_image() -> None:
    inferno = mpl.colormaps["inferno"]
    red = np.array([1.0, 0.0, 0.0])[:, None, None] * np.ones((3, 1, 3))
    shown = overlay(red, np.array([[0.0, 0.25, 1.0]]))
    pale = 0.65 + 0.35 * 0.299
    half = 0.5 * pale + 0.5 * np.array(inferno(0.25)[:3])
    np.testing.assert_allclose(shown, [[[pale] * 3, half, inferno(1.0)[:3]]])
    np.testing.assert_allclose(overlay(np.ones((1, 1, 1)), np.zeros((1, 1))), [[[1.0] * 3]])


def test_nothing_lies_over_anything_else_or_outside() -> None:
    wide, tall = np.zeros((4, 8)), np.zeros((224, 112, 3))
    words = "several words that have no place in one line"
    blocks = [
        Block("A title " * 12, [[Picture(wide, words), Picture(tall, "a\nb")], [Picture(tall)]]),
        Block("Second", [[Picture(wide, "c")] * 3]),
    ]
    figure = draw_pictures(blocks, columns=3, note="a note " * 20)
    figure.draw_without_rendering()
    (axis,) = figure.axes
    inches = axis.transData.inverted()
    boxes = [text.get_window_extent().transformed(inches) for text in axis.texts]
    boxes += [image.get_window_extent().transformed(inches) for image in axis.images]
    (width, height) = figure.get_size_inches()
    inch = axis.transData.transform([1, 0]) - axis.transData.transform([0, 1])
    np.testing.assert_allclose(inch, figure.dpi, rtol=1e-4)
    assert width < 4.3
    for number, box in enumerate(boxes):
        assert 0 <= box.xmin < box.xmax <= WIDTH + 1e-6
        assert 0 <= min(box.y0, box.y1) < max(box.y0, box.y1) <= height + 1e-6
        for other in boxes[:number]:
            apart = 1e-6
            assert (
                box.xmin >= other.xmax - apart or other.xmin >= box.xmax - apart
                or max(box.y0, box.y1) <= min(other.y0, other.y1) + apart
                or max(other.y0, other.y1) <= min(box.y0, box.y1) + apart
            )  # fmt: skip
    for image, (rows, columns) in zip(axis.images, [(4, 8), (224, 112)], strict=False):
        left, right, bottom, top = image.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(rows / columns)
