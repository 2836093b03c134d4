import numpy as np
import pytest

from advdetect.errors import AdvdetectError
from advdetect.evaluation.certified import read_smoothed
from advdetect.figures.certified_accuracy import certified_accuracy_figure
from certified_files import ALPHA, attacked_file, clean_file

BOOTSTRAP = {"replicates": 20, "seed": 0}


def line(axis, gid):
    (found,) = (line for line in axis.get_lines() if line.get_gid() == gid)
    return found.get_xydata().T


@pytest.fixture
def classifiers(tmp_path):
    paths = [clean_file(tmp_path, sigma=1.0), clean_file(tmp_path), attacked_file(tmp_path)]
    return read_smoothed(paths, ALPHA)


def test_each_noise_has_a_line_of_what_is_certified_at_least(classifiers):
    (axis,) = certified_accuracy_figure(classifiers, **BOOTSTRAP).axes
    for one in classifiers:
        (table,) = one.seeds.values()
        radii, shown = line(axis, f"certified {one.sigma:g}")
        expected = [100 * (table["radius"] >= radius).mean() for radius in radii]
        np.testing.assert_allclose(shown, expected)
        assert shown[0] == 50
        assert shown[-1] == 0, "no radius is larger than that of draws which all agree"
        assert axis.get_xlim()[1] > one.largest_radius


def test_the_line_under_attack_is_above_what_is_certified(classifiers):
    figure = certified_accuracy_figure(classifiers, **BOOTSTRAP)
    (axis,) = figure.axes
    _, certified = line(axis, "certified 0.25")
    radii, attacked = line(axis, "attacked 0.25")
    assert (attacked >= certified).all()
    np.testing.assert_allclose(attacked, np.where(radii < 0.5, 50, 25))
    assert not [one for one in axis.get_lines() if one.get_gid() == "attacked 1"]
    assert line(axis, "base")[1].tolist() == [75]
    assert line(axis, "base attacked")[1][0] == 75
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        *("σ = 0.25", "σ = 1", "Certified", "Under attack", "Base, clean images"),
        "Base, under attack",
    ]


def test_without_attacks_only_what_is_certified_is_drawn(tmp_path):
    figure = certified_accuracy_figure(read_smoothed([clean_file(tmp_path)], ALPHA), **BOOTSTRAP)
    (axis,) = figure.axes
    assert [one.get_gid() for one in axis.get_lines()] == ["certified 0.25", "base"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(AdvdetectError, match="files from certify"):
        certified_accuracy_figure([], **BOOTSTRAP)
