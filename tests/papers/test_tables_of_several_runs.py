"""Tables of several runs: rates and means by hand, and diagonals that can be nothing else."""

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.perturbation import AttackNorms
from advdetect.papers.found import Sources
from advdetect.papers.readings import cells, reported_transfers


def table(success, crafted=True, **columns):
    """Return what an attack did to as many images, at positions that follow each other."""
    own = {"index": range(len(success)), "success": success, "crafted_success": crafted}
    return pd.DataFrame(own | {"l2": 1.0} | columns)


def sources(errors=None, **attacks):
    norms = {
        name: AttackNorms(name, True, True, {0: kept}, {0: left_out})
        for name, (kept, left_out) in attacks.items()
    }
    return Sources({}, {}, norms, {}, errors or {})


def values(spec, reading, runs):
    """Return the value of each cell by its names."""
    known = Sources({}, {}, {}, {}, runs=runs)
    return {
        (cell.row, cell.column, cell.quantity): cell.statistic(
            cell.seeds[0], np.ones((1, len(cell.seeds[0])))
        ).item()
        for cell in cells(spec, {"name": "r", **reading}, known, pd.DataFrame())
    }


TRANSFER = {"kind": "transfer", "columns": "tested_on", "runs": [["A", "a"], ["B", "b"]]}
ATTACKS = [["A", "l@a"], ["B", "l@b"]]
NONE = table([]).astype({"success": bool, "crafted_success": bool})


def crossing():
    """Two networks: each judges its own images, and of the other's those that it gets right."""
    own = [True, True, False, True]  # what fooled it
    return {
        "a": sources(
            **{
                "l@a": (table(own, own), NONE),
                "l@b": (table([True, False], [True, True]), table([True, False], [True, False])),
            }
        ),
        "b": sources(
            **{
                "l@a": (table([False, False, True], own[:3]), table([True], [True])),
                "l@b": (table(own, own), NONE),
            }
        ),
    }


@pytest.mark.parametrize("clean", ["right", "any"])
def test_the_diagonal_of_what_fooled_its_own_network_is_all_of_it(clean):
    reading = {"attacks": ATTACKS, "crafted": "successful", "clean": clean}
    found = values(TRANSFER, reading, crossing())
    assert found["A", "A", "fooling_rate"] == found["B", "B", "fooling_rate"] == 1
    reading["crafted"] = "all"
    assert values(TRANSFER, reading, crossing())["A", "A", "fooling_rate"] == 0.75


@pytest.mark.parametrize(
    ("clean", "a_on_b", "b_on_a"),
    [("right", 0 / 2, 1 / 2), ("any", 1 / 3, 2 / 3)],
)
def test_the_error_over_all_images_counts_those_that_are_wrong_when_clean(clean, a_on_b, b_on_a):
    reading = {"attacks": ATTACKS, "crafted": "successful", "clean": clean}
    found = values(TRANSFER, reading, crossing())
    assert found["A", "B", "fooling_rate"] == pytest.approx(a_on_b)
    assert found["B", "A", "fooling_rate"] == pytest.approx(b_on_a)


def test_on_two_copies_of_a_network_every_rate_is_the_diagonal_s():
    copies = {"a": crossing()["a"], "b": crossing()["a"]}
    for clean in ("right", "any"):
        reading = {"attacks": ATTACKS, "clean": clean}
        found = values(TRANSFER, reading, copies)
        for row in ("A", "B"):
            assert found[row, "A", "fooling_rate"] == found[row, "B", "fooling_rate"]


def test_what_is_reported_of_a_run_has_the_names_of_its_attacks(tmp_path):
    """A value beside several models that stand for one is each's; a paper's mean is nobody's."""
    (tmp_path / "rows.csv").write_text("oracle,a_percent\nservice,84.24\nunknown,88.94\nother,1\n")
    (tmp_path / "square.csv").write_text("from,on,a_percent\nA,A,99\nA,B,40\nB,A,30\nmean,A,50\n")
    shares = {"values": [["a_percent", "fooling_rate"]], "dataset": "mnist"}
    attacks = [["service", "fgsm@sub,epsilon=0.3"], ["unknown", ["fgsm@x", "fgsm@y"]]]
    later = {"attacks": [["service", "fgsm@sub,epsilon=0.4"]]}
    rows = {"reported": "rows.csv", "rows": ["oracle"], "readings": [{"attacks": attacks}, later]}
    rows |= {"runs": [["service", "lenet5"], ["unknown", ["svm", "tree"]]], **shares}
    crossed = {"attacks": [["A", "l@a"], ["B", "l@b"], ["mean", ["l@a", "l@b"]]]}
    square = {"reported": "square.csv", "rows": ["from"], "columns": "on", "readings": [crossed]}
    square |= {"runs": [["A", "svm"], ["B", "tree"]], **shares}
    files = {path.name: str(path) for path in tmp_path.iterdir()}
    expected = {
        "lenet5": [("fgsm@sub,epsilon=0.3", "service", 84.24 / 100)],
        "svm": [("fgsm@x", "unknown", 88.94 / 100), ("l@a", "A", 0.99), ("l@b", "B", 0.3)],
        "tree": [("fgsm@y", "unknown", 88.94 / 100), ("l@a", "A", 0.4)],
        "another": [],
    }
    assert {run: reported_transfers([rows, square], files, run) for run in expected} == expected
    assert reported_transfers([], {}, "svm") == []


def test_networks_have_their_errors_and_the_distortion_of_what_fooled_them():
    errors = {
        "train_error": {0: table([True, False, False, False])},
        "test_error": {0: table([True, False])},
    }
    own = table([True, True, False], distortion=[0.1, 0.2, 0.0])
    spec = {"kind": "networks", "runs": [["A", "a"]]}
    found = values(spec, {"attacks": [["A", "l"]]}, {"a": sources(errors, l=(own, NONE))})
    assert found == {
        ("A", "", "train_error"): 0.25,
        ("A", "", "test_error"): 0.5,
        ("A", "", "distortion"): pytest.approx(0.15),
    }
