import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import AttackNorms
from advdetect.figures.transfer_success import transfer_figure
from advdetect.papers.readings import ReportedRate
from advdetect.tables.names import titled

COUNT = 40


def attack(name, here, there):
    """Images of which a share succeeds here, and another where they were crafted."""
    columns = {"success": np.arange(COUNT) < here * COUNT, "l2": 1.0}
    table = pd.DataFrame({"index": np.arange(COUNT), **columns})
    table["crafted_success"] = np.arange(COUNT) < there * COUNT
    return AttackNorms(name, False, True, {0: table, 1: table})


ATTACKS = [
    attack("fgsm@sub,epsilon=0.3", 0.8, 1.0),
    attack("fgsm@sub,epsilon=0.1", 0.2, 0.6),
    attack("fgsm@away,epsilon=0.1", 0.4, 0.5),
    attack("fgsm@away,epsilon=0.3", 0.9, 0.7),
    attack("jsma@sub,gamma=0.05", 0.1, 0.9),
    attack("jsma@sub,gamma=0.2", 0.3, 1.0),
    attack("fgsm,epsilon=0.1", 0.5, 0.5),
    attack("fgsm,epsilon=0.3", 0.5, 0.5),
]


def test_each_method_has_a_panel_with_both_models_over_what_it_sweeps():
    figure = transfer_figure(ATTACKS)
    fgsm, jsma = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["FGSM", "JSMA"]
    assert [axis.get_xlabel() for axis in figure.axes] == ["ε", "Υ"]
    lines = {line.get_gid(): line for line in [*fgsm.get_lines(), *jsma.get_lines()]}
    expected = {
        "fgsm@sub/success": [[0.1, 20], [0.3, 80]],
        "fgsm@sub/crafted_success": [[0.1, 60], [0.3, 100]],
        "fgsm@away/success": [[0.1, 40], [0.3, 90]],
        "fgsm@away/crafted_success": [[0.1, 50], [0.3, 70]],
        "jsma@sub/success": [[0.05, 10], [0.2, 30]],
        "jsma@sub/crafted_success": [[0.05, 90], [0.2, 100]],
    }
    assert lines.keys() == expected.keys()
    for gid, points in expected.items():
        np.testing.assert_allclose(lines[gid].get_xydata(), points)
        assert lines[gid].get_linestyle() == ("-" if gid.endswith("/success") else "--")
    # A colour is a model that images were crafted on, in both panels.
    assert lines["fgsm@sub/success"].get_color() == lines["jsma@sub/success"].get_color()
    assert lines["fgsm@sub/success"].get_color() != lines["fgsm@away/success"].get_color()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "crafted on sub, judged on the model",
        "on sub itself",
        "crafted on away, judged on the model",
        "on away itself",
    ]


def test_it_shows_the_titles_of_models():
    with titled({"fgsm": "FGSM", "@sub": "a substitute"}):
        figure = transfer_figure(ATTACKS[:2])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["crafted on a substitute, judged on the model", "on a substitute itself"]


def test_reported_values_are_marks_in_the_colour_of_their_curve():
    reported = [
        ReportedRate("fgsm@away,epsilon=0.3", "service", 0.8424),
        ReportedRate("jsma@sub,gamma=0.05", "other", 0.0875),
        ReportedRate("fgsm@sub,epsilon=0.2", "not drawn", 0.5),
    ]
    with titled({"service": "A service", "other": "Another"}):
        figure = transfer_figure(ATTACKS, reported)
    fgsm, jsma = ({line.get_gid(): line for line in axis.get_lines()} for axis in figure.axes)
    mark = fgsm["service_reported"]
    np.testing.assert_allclose(mark.get_xydata(), [[0.3, 84.24]])
    assert (mark.get_marker(), mark.get_linestyle()) == ("D", "None")
    assert mark.get_color() == fgsm["fgsm@away/success"].get_color()
    np.testing.assert_allclose(jsma["other_reported"].get_xydata(), [[0.05, 8.75]])
    assert (len(fgsm), len(jsma)) == (4 + 1, 2 + 1)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names[4:] == ["A service, reported", "Another, reported"]


def test_it_needs_a_sweep_of_what_crosses():
    with pytest.raises(AdvdetectError, match="no transfer to draw"):
        transfer_figure([ATTACKS[0], *ATTACKS[-2:]])
