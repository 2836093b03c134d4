from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from advdetect.figures.column_roc import column_roc_figure
from advdetect.figures.distribution import distribution_figure
from advdetect.figures.eigenvalue_path import eigenvalue_path_figure
from advdetect.figures.reproduction import reproduction_figure


def comparison(quantity="auroc", readings=("one", "two")):
    rows = [
        {
            "reading": reading,
            "row": row,
            "column": "fgm",
            "quantity": quantity,
            "value": 90.0 + shift,
            "low": 88.0 + shift,
            "high": 93.0 + shift,
            "reported": 95.0 if row == "kd" else np.nan,
        }
        for shift, reading in enumerate(readings)
        for row in ("kd", "max_probability")
    ]
    return pd.DataFrame(rows)


def lines(axis, gid):
    return [artist for artist in axis.get_children() if artist.get_gid() == gid]


def test_every_cell_has_its_interval_and_what_is_reported():
    (axis,) = reproduction_figure(comparison()).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "KD, FGM", "1 \N{MINUS SIGN} max probability, FGM",
    ]  # fmt: skip
    (reported,) = lines(axis, "reported")
    ((bottom, top),) = reported.get_segments()
    assert bottom[0] == top[0] == 95
    assert bottom[1] < 0 < top[1]
    containers = {
        container.lines[0].get_gid() or container.get_label(): container
        for container in axis.containers
    }
    assert len(containers) == 2
    for shift, container in enumerate(axis.containers):
        points, _, (bars,) = container.lines
        assert points.get_xdata().tolist() == [90 + shift] * 2
        spans = [(left[0], right[0]) for left, right in bars.get_segments()]
        assert spans == [(88 + shift, 93 + shift)] * 2


def test_norms_and_percent_have_a_panel_each():
    both = pd.concat([comparison(), comparison(quantity="least_l2")])
    assert [axis.get_xlabel() for axis in reproduction_figure(both).axes] == ["Percent", "L2 norm"]


def test_a_distribution_has_one_histogram_of_area_one_for_each_kind():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"kind": ["clean", "adversarial"] * 50, "score": random.random(100)})
    (axis,) = distribution_figure({"fgm": table}, "log10 of it").axes
    assert axis.get_xlabel() == "log10 of it"
    assert len(axis.collections) == 2
    for histogram in axis.collections:
        outline = histogram.get_paths()[0].vertices
        x, y = outline[:, 0], outline[:, 1]
        area = abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2  # shoelace formula
        assert area == pytest.approx(1, rel=1e-6)


def test_the_legend_of_a_roc_curve_gives_its_area():
    table = pd.DataFrame(
        {
            "index": [0, 1, 2, 0, 1, 2],
            "kind": ["clean"] * 3 + ["adversarial"] * 3,
            "score": [1.0, 2.0, 3.0, 2.5, 3.5, 4.5],
        }
    )
    (axis,) = column_roc_figure({"fgm": {"trace": [table, table]}}).axes
    (line,) = lines(axis, "trace")
    assert line.get_label().startswith("Trace (4): 0.889 [")
    area = np.trapezoid(line.get_ydata(), line.get_xdata())
    assert area == pytest.approx(8 / 9)


def test_neighbouring_curves_of_columns_differ_in_colour_and_in_dashes():
    table = pd.DataFrame({"index": [0, 0], "kind": ["clean", "adversarial"], "score": [0.0, 1.0]})
    columns = {f"c{i}": [table] for i in range(20)}
    (axis,) = column_roc_figure({"fgm": columns}).axes
    drawn = [line for line in axis.get_lines() if line.get_gid() in columns]
    styles = [(line.get_color(), str(line._dash_pattern)) for line in drawn]
    assert len(set(styles)) == len(columns)
    assert all(a != c and b != d for (a, b), (c, d) in pairwise(styles))


def test_a_path_is_a_line_with_a_cross_where_the_class_changes():
    path = pd.DataFrame(
        {
            "index": [7, 7, 7, 8, 8, 8],
            "l2": [0.0, 1.0, 2.0] * 2,
            "log10_eigenvalue": [0.0, 1.0, 2.0, 1.0, 2.0, 3.0],
            "fooled": [False, True, True, False, False, False],
        }
    )
    (axis,) = eigenvalue_path_figure({"ossa_least": path}).axes
    first, cross, second = axis.lines
    assert first.get_ydata().tolist() == [0, 1, 2]
    assert second.get_ydata().tolist() == [1, 2, 3]
    assert (cross.get_xdata(), cross.get_ydata(), cross.get_marker()) == ([1.0], [1.0], "x")
