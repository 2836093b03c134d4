import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.figures.success_over_runs import draw, success_figure

COUNT = 50


def share(value):
    """Two seeds of images of which that share has what is counted."""
    return [
        pd.DataFrame({"index": np.arange(COUNT), "share": np.arange(COUNT) < value * COUNT})
    ] * 2


def test_each_curve_has_the_share_at_each_run_s_number():
    attacks = {
        "masked": {100.0: share(0.0), 1.0: share(0.8)},
        "black box": {1.0: share(0.5), 100.0: share(0.6)},
    }
    shares = {"no gradient": {1.0: share(0.1), 100.0: share(1.0)}}
    figure = success_figure(attacks, shares, "T")
    (axis,) = figure.axes
    lines = {line.get_gid(): line for line in axis.get_lines()}
    expected = {
        "masked": [[1, 80], [100, 0]],
        "black box": [[1, 50], [100, 60]],
        "no gradient": [[1, 10], [100, 100]],
    }
    assert lines.keys() == expected.keys()
    for name, points in expected.items():
        np.testing.assert_allclose(lines[name].get_xydata(), points)
    assert lines["no gradient"].get_linestyle() == ":"
    assert (axis.get_xscale(), axis.get_xlabel()) == ("log", "T")
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["1", "100"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(expected)


def test_runs_that_are_not_there_at_all_are_refused():
    with pytest.raises(AdvdetectError, match="none of warm, hot has a file"):
        draw(
            {},
            runs=[("warm", 5), ("hot", 100)],
            parameter="temperature",
            feature="zero_gradient",
            columns=[("no gradient", "zero_gradient")],
        )
