from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from advdetect.figures.plotting import (
    DASHES,
    KIND_COLOURS,
    LOG10,
    PALETTE,
    average_curve,
    line_style,
    panels,
    save_figure,
    shared_legend,
    styled,
)
from advdetect.protocol import KINDS


def draw() -> object:
    with styled():
        figure, axes = panels(["a", "b"])
        axes[0].plot([0, 1], [0, 1])
        axes[1].fill_between([0, 1], [0, 1], alpha=0.5)
    return figure


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    # A dot in the name is part of the name, not a suffix.
    first = save_figure(draw(), tmp_path / "deep" / "roc,kappa=0.1")  # type: ignore[arg-type]
    second = save_figure(draw(), tmp_path / "again")  # type: ignore[arg-type]
    assert [path.name for path in first] == ["roc,kappa=0.1.svg", "roc,kappa=0.1.png"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert first[1].read_bytes().startswith(b"\x89PNG")
    assert "<dc:date>" not in first[0].read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "again.svg", "deep"]


def test_a_failed_save_leaves_no_file(tmp_path: Path) -> None:
    class Broken(Figure):
        def savefig(self, path: Path, **options: object) -> None:
            path.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        save_figure(Broken(), tmp_path / "x")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_every_title_has_one_panel(n: int) -> None:
    figure, axes = panels([str(i) for i in range(n)])
    assert [axis.get_title() for axis in axes] == [str(i) for i in range(n)]
    assert figure.axes == axes


def test_lines_and_kinds_differ() -> None:
    styles = [tuple(line_style(i).values()) for i in range(len(PALETTE) * len(DASHES))]
    assert len(set(styles)) == len(styles)
    colours = np.array([to_rgb(KIND_COLOURS[kind]) for kind in KINDS])
    # Their lightness differs as well, so that they can be told apart in grey.
    lightness = np.sort(colours @ [0.2126, 0.7152, 0.0722])
    assert np.diff(lightness).min() > 0.02


def steps(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Make a rising polyline from x = 0 to 1 with jumps, the first and the last x included."""
    x = np.sort(generator.integers(0, 6, size=n) / 5)
    x[[0, 1, -2, -1]] = 0, 0, 1, 1
    return x, np.sort(generator.random(n))


def test_average_curve_keeps_areas_jumps_and_ends() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        curves = [steps(generator, n) for n in (6, 9, 20)]
        x, y = average_curve(curves)
        areas = [np.trapezoid(values, at) for at, values in curves]
        assert np.trapezoid(y, x) == pytest.approx(np.mean(areas), abs=1e-12)
        assert y[0] == pytest.approx(np.mean([values[0] for _, values in curves]))
        assert y[-1] == pytest.approx(np.mean([values[-1] for _, values in curves]))
        assert (np.diff(x) >= 0).all()
        assert (np.diff(y) >= -1e-15).all()


def test_average_of_one_curve_is_the_curve() -> None:
    x, y = np.array([0, 0, 0.25, 0.5, 0.5, 1]), np.array([0, 0.5, 0.5, 0.6, 0.8, 1])
    mean_x, mean_y = average_curve([(x, y)])
    np.testing.assert_array_equal(mean_x, [0, 0, 0.25, 0.25, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(mean_y, [0, 0.5, 0.5, 0.5, 0.6, 0.8, 1, 1])


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    """Two dollars are no formula, one that is none stops nothing, and no label is left out."""
    names = ["$x$", "a $\\frac$ b", "5 $", "_mine"]
    with styled():
        figure, axes = panels(names)
        for axis in axes:
            axis.set(yscale="log", ylabel=f"{LOG10} λ", ylim=(1e-5, 1))
        shared_legend(figure, {name: line_style(i) for i, name in enumerate(names)})
    save_figure(figure, tmp_path / "names")  # type: ignore[arg-type]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["$x$", "a $\\frac$ b", "5 $", " _mine"]
    shown = [axis.title for axis in axes] + list(figure.legends[0].get_texts())
    assert not any(text.get_parse_math() for text in shown if "$" in text.get_text())
    # Ours are formulas still.
    assert axes[0].yaxis.label.get_parse_math()
    ticks = [tick for tick in axes[0].get_yticklabels() if tick.get_text()]
    assert ticks
    assert all(tick.get_parse_math() for tick in ticks)


def test_no_label_leaves_the_picture(tmp_path: Path) -> None:
    """It did where a figure was laid out for another resolution than that of its file."""
    with styled():
        figure, (axis,) = panels([""], width=7)
        axis.set_yticks([0, 1], ["1 − max probability, OTCM", "1 − max probability, OSSA"])
    _, png = save_figure(figure, tmp_path / "labels")  # type: ignore[arg-type]
    edge = plt.imread(png)[:, :4, :3]
    assert (edge == 1).all()  # white
