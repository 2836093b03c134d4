import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.figures.defense_accuracy import defense_accuracy_figure

KAPPAS = (0, 10, 5)  # not in their order
ATTACKS = [
    *(f"cw_l2,kappa={kappa}" for kappa in KAPPAS),
    *(f"ead,kappa={kappa},rule={rule}" for rule in ("l1", "en") for kappa in KAPPAS),
]


def cells(attacks=ATTACKS, defenses=("magnet", "mid")):
    generator = np.random.default_rng(0)
    rows = [
        {"attack": attack, "defense": defense}
        for attack in ["clean", *attacks]
        for defense in defenses
    ]
    value = generator.uniform(0.2, 0.8, len(rows))
    return pd.DataFrame(rows).assign(value=value, low=value - 0.1, high=value + 0.15)


def values(table, defense, column="value", attack="cw_l2,kappa={}"):
    found = table[table["defense"] == defense].set_index("attack")[column]
    return [100 * found[attack.format(kappa)] for kappa in sorted(KAPPAS)]


def line(axis, gid):
    (found,) = (line for line in axis.get_lines() if line.get_gid() == gid)
    return found


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_each_sweep_has_a_panel_with_a_line_and_a_band_for_each_defence():
    table = cells()
    figure = defense_accuracy_figure(table, None)
    assert [axis.get_title() for axis in figure.axes] == ["C&W L2", "EAD L1", "EAD EN"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"κ"}
    names = ["cw_l2,kappa={}", "ead,kappa={},rule=l1", "ead,kappa={},rule=en"]
    for axis, attack in zip(figure.axes, names, strict=True):
        for band, defense in zip(axis.collections, ("magnet", "mid"), strict=True):
            x, y = line(axis, defense).get_xydata().T
            np.testing.assert_array_equal(x, [0, 5, 10])
            np.testing.assert_allclose(y, values(table, defense, attack=attack))
            edge = band.get_paths()[0].vertices
            for column in ("low", "high"):
                for corner in zip(x, values(table, defense, column, attack), strict=True):
                    assert np.isclose(edge, corner).all(axis=1).any()
    colours = [line(figure.axes[0], defense).get_color() for defense in ("magnet", "mid")]
    assert colours[0] != colours[1]
    assert labels(figure) == ["MagNet", "MID"]


def test_reported_values_are_markers_in_the_colour_of_the_defence():
    known = [("cw_l2,kappa=5", "magnet", 0.946), ("cw_l2,kappa=0", "magnet", 0.987)]
    known += [("ead,kappa=5,rule=l1", "mid", 0.394), ("deepfool", "mid", 0.5)]
    reported = pd.DataFrame(known, columns=["attack", "defense", "value"])
    figure = defense_accuracy_figure(cells(), reported)
    carlini, l1, en = figure.axes
    marks = line(carlini, "magnet_reported")
    x, y = marks.get_xydata().T
    np.testing.assert_array_equal(x, [0, 5, 10])
    np.testing.assert_allclose(y, [98.7, 94.6, np.nan])
    assert marks.get_linestyle() == "None"
    assert marks.get_color() == line(carlini, "magnet").get_color()
    np.testing.assert_allclose(line(l1, "mid_reported").get_ydata(), [np.nan, 39.4, np.nan])
    shown = [line.get_gid() for axis in figure.axes for line in axis.get_lines()]
    assert [gid for gid in shown if gid.endswith("reported")] == ["magnet_reported", "mid_reported"]
    assert len(en.get_lines()) == 2
    assert labels(figure) == ["MagNet", "MagNet, reported", "MID", "MID, reported"]


def test_another_number_may_be_swept_and_an_attack_without_a_sweep_is_left_out():
    attacks = ["fgsm", "fgm,epsilon=0.1", "fgm,epsilon=1e-05", "cw_l2,kappa=3", "ead,rule=en"]
    figure = defense_accuracy_figure(cells(attacks, ["mine"]), None)
    (axis,) = figure.axes
    assert (axis.get_title(), axis.get_xlabel()) == ("FGM", "ε")
    np.testing.assert_array_equal(line(axis, "mine").get_xdata(), [1e-5, 0.1])
    assert labels(figure) == ["mine"]


def test_a_value_that_is_missing_is_a_gap():
    table = cells()
    none = table["attack"] == "cw_l2,kappa=5"
    table.loc[none, ["value", "low", "high"]] = np.nan
    axis = defense_accuracy_figure(table, None).axes[0]
    assert np.isnan(line(axis, "mid").get_ydata()).tolist() == [False, True, False]


def test_without_a_sweep_there_is_nothing_to_draw():
    with pytest.raises(AdvdetectError, match="at least two values of a number"):
        defense_accuracy_figure(cells(["fgsm", "cw_l2,kappa=3", "deepfool"]), None)
