import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import AttackNorms, norm_at_rate
from advdetect.papers.readings import Sources, cells

KINDS = ["clean", "noisy", "adversarial"]


def scores(detector="threshold", trained_on="fgm", tested_on="fgm", **facts):
    table = pd.DataFrame({"index": [0, 1] * 3, "kind": np.repeat(KINDS, 2), "score": range(6)})
    facts = {"bits": "float32", "positives": "successful"} | facts
    return table.assign(detector=detector, trained_on=trained_on, tested_on=tested_on, **facts)


def reader(table):
    """Read cells of a table as they are read of a file."""

    def read(**wanted):
        return table.query(" and ".join(f"{k} == '{v}'" for k, v in wanted.items()))

    return read


def sources(**known):
    nothing = {"scores": {}, "features": {}, "norms": {}, "defenses": {}}
    return Sources(**nothing | known)


def norms(attack, l2, success, success_8bit=False):
    of_images = {"success": success, "success_8bit": success_8bit}
    table = pd.DataFrame({"index": range(len(l2)), "l2": l2, **of_images})
    return AttackNorms(attack, minimal_norm=True, one_step=True, seeds={0: table})


def found(spec, reading, known, reported=None):
    return list(cells(spec, {"name": "r", **reading}, known, reported))


def test_a_detection_cell_has_the_scores_of_its_detector_attack_and_positives():
    every = pd.concat(
        [
            scores(),
            scores(detector="random_forest"),
            scores(trained_on="bim"),
            scores(positives="all").assign(score=9.0),
        ]
    )
    spec = {"kind": "detection", "methods": [["kd", {"feature": "k", "detector": "threshold"}]]}
    known = sources(scores={"k": {0: reader(every)}})
    (cell,) = found(spec, {"attacks": [["FGM", "fgm"]]}, known)
    assert (cell.row, cell.column, cell.quantity) == ("kd", "FGM", "auroc")
    assert cell.seeds[0]["score"].tolist() == list(range(6))
    reading = {"attacks": [["FGM", "fgm"]], "positives": "all", "negatives": ["clean"]}
    (cell,) = found(spec, reading, known)
    assert cell.seeds[0]["kind"].tolist() == ["clean", "clean", "adversarial", "adversarial"]
    assert (cell.seeds[0]["score"] == 9).all()


def test_a_cross_attack_table_has_every_pair_in_the_order_of_the_paper():
    pairs = [("bim", "bim"), ("bim", "fgm"), ("fgm", "bim"), ("fgm", "fgm")]
    every = pd.concat(
        [scores(trained_on=a, tested_on=b).assign(score=n) for n, (a, b) in enumerate(pairs)]
    )
    spec = {"kind": "cross_attack", "methods": [["e", {"feature": "k", "detector": "threshold"}]]}
    found_cells = found(
        spec,
        {"attacks": [["FGM", "fgm"], ["BIM", "bim"]]},
        sources(scores={"k": {0: reader(every)}}),
    )
    assert [(c.row, c.column) for c in found_cells] == [
        ("FGM", "FGM"), ("FGM", "BIM"), ("BIM", "FGM"), ("BIM", "BIM"),
    ]  # fmt: skip
    assert [cell.seeds[0]["score"].iloc[0] for cell in found_cells] == [3, 2, 1, 0]


def test_an_unsupervised_detector_is_the_same_in_every_row():
    every = pd.concat([scores(trained_on="clean", tested_on=a) for a in ("bim", "fgm")])
    spec = {"kind": "cross_attack", "methods": [["e", {"feature": "k", "detector": "threshold"}]]}
    known = sources(scores={"k": {0: reader(every)}})
    found_cells = found(spec, {"attacks": [["FGM", "fgm"], ["BIM", "bim"]]}, known)
    assert len(found_cells) == 4
    for cell in found_cells:
        assert cell.seeds[0]["score"].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        (
            {"positives": "all"},
            [("clean", 1), ("noisy", 3), ("adversarial", 5), ("adversarial", 6)],
        ),
        ({"negatives": ["clean"]}, [("clean", 1), ("adversarial", 6)]),
        (
            {"bits": "8bit", "positives": "all"},
            [("clean", 1), ("adversarial", 7), ("adversarial", 8)],
        ),
        ({"bits": "8bit"}, [("clean", 1), ("adversarial", 7)]),
    ],
)
def test_a_column_is_a_score_by_itself(reading, expected):
    clean = pd.DataFrame({"index": [1], "kind": ["clean"], "trace": [1.0]})
    attacked = pd.DataFrame(
        {
            "index": [1, 0, 1, 0, 1],
            "kind": ["noisy", "adversarial", "adversarial", "adversarial_8bit", "adversarial_8bit"],
            "trace": [3.0, 5.0, 6.0, 7.0, 8.0],
        }
    )
    known = sources(
        features={("f", "clean"): {0: clean}, ("f", "fgm"): {0: attacked}},
        norms={"fgm": norms("fgm", [1.0, 1.0], [False, True], [True, False])},
    )
    for adversarial, sign in (("high", 1), ("low", -1)):
        method = {"feature": "f", "column": "trace", "adversarial": adversarial}
        spec = {"kind": "detection", "methods": [["trace", method]]}
        (cell,) = found(spec, {"attacks": [["FGM", "fgm"]], **reading}, known)
        table = cell.seeds[0]
        assert list(zip(table["kind"], sign * table["score"], strict=True)) == expected


def test_beyond_the_radius_of_a_reading_nothing_is_a_success():
    known = sources(norms={"fgm": norms("fgm", [1.0, 3.0, 5.0, 0.0], [True, True, True, False])})
    spec = {"kind": "least_perturbation"}
    for within, mean, rate in ((None, 3.0, 0.75), (4, 2.0, 0.5)):
        found_cells = found(spec, {"attacks": [["FGM", "fgm"]], "within": within}, known)
        values = {
            cell.quantity: cell.statistic(cell.seeds[0], np.ones((1, 4))).item()
            for cell in found_cells
        }
        assert values == {"least_l2": mean, "fooling_rate": rate}


def test_a_transfer_table_has_images_of_each_model_on_each_other():
    """Rates by hand; a mean is over models, however many images each gets right."""

    def judged(success, crafted):
        own = norms("fgm@a", [1.0] * len(success), success)
        own.seeds[0]["crafted_success"] = crafted
        return own

    of = {
        "one": {"fgm@a": judged([True, True, False, False], [True, True, True, False])},
        "two": {"fgm@a": judged([True, False], [True, False])},
        "three": {"fgm@a": judged([False], [True])},
    }
    runs = {label: sources(norms=known) for label, known in of.items()}
    columns = {"kind": "transfer", "columns": "tested_on"}
    spec = columns | {"runs": [["A", "one"], ["B", ["two", "three"]]]}
    for crafted, expected in (("all", [0.5, 0.25]), ("successful", [2 / 3, 0.5])):
        reading = {"attacks": [["FGM", "fgm@a"]], "crafted": crafted}
        found_cells = found(spec, reading, sources(runs=runs))
        assert [(c.row, c.column) for c in found_cells] == [("FGM", "A"), ("FGM", "B")]
        rates = [
            cell.statistic(table, np.ones((3, len(table)))).tolist()
            for cell in found_cells
            for table in cell.seeds
        ]
        assert rates == [[pytest.approx([rate] * 3)] for rate in expected]


def test_without_columns_each_row_of_a_transfer_table_has_its_own_runs():
    def judged(attack, success):
        return {attack: norms(attack, [1.0] * len(success), success)}

    of = {
        "one": judged("fgsm@a", [True, True, False]),
        "two": judged("fgsm@b", [True, False]) | judged("fgsm@a", [False, False]),
        "three": judged("fgsm@c", [False, False, False]),
    }
    runs = {label: sources(norms=known) for label, known in of.items()}
    spec = {"kind": "transfer", "runs": [["A", "one"], ["B", ["two", "three"]]]}
    reading = {"attacks": [["A", "fgsm@a"], ["B", ["fgsm@b", "fgsm@c"]]]}
    cells = found(spec, reading, sources(runs=runs))
    rates = [cell.statistic(cell.seeds[0], np.ones((1, len(cell.seeds[0])))) for cell in cells]
    assert [(cell.row, cell.column) for cell in cells] == [("A", ""), ("B", "")]
    assert [rate.item() for rate in rates] == pytest.approx([2 / 3, 1 / 4])


def test_the_norm_at_a_rate_is_the_smallest_that_fools_so_many():
    random = np.random.default_rng(1)
    table = norms("fgm", random.random(30), random.random(30) < 0.9).seeds[0]
    weights = random.integers(0, 4, (20, 30)).astype(float)
    for rate in (0.1, 0.5, 0.9, 1.0):
        expected = []
        for row in weights:
            repeated = table.loc[table.index.repeat(row.astype(int))]
            reach = [
                norm
                for norm in sorted(repeated.loc[repeated["success"], "l2"])
                if ((repeated["l2"] <= norm) & repeated["success"]).sum()
                >= rate * len(repeated) - 1e-9
            ]
            expected.append(reach[0] if reach else np.nan)
        np.testing.assert_array_equal(norm_at_rate(rate)(table, weights)[0], expected)


def test_a_pattern_names_the_attack_of_each_reported_row_that_there_is():
    defended = pd.DataFrame(
        {
            "attack": "ead,rule=l1,kappa=5",
            "kind": ["adversarial", "adversarial", "adversarial_8bit"],
            "index": [0, 1, 0],
            "success": [True, False, True],
            "good": [True, True, False],
        }
    )
    reported = pd.DataFrame(
        {
            "row": ["ead_l1,kappa=5", "ead_l1,kappa=5", "ead_l1,kappa=10", "other,kappa=5"],
            "attack": ["ead_l1", "ead_l1", "ead_l1", "other"],
            "kappa": ["5", "5", "10", "5"],
        }
    )
    spec = {"kind": "defense", "rows": ["attack", "kappa"]}
    reading = {
        "attacks": [["ead_l1", "ead,rule=l1,kappa={kappa}"]],
        "defenses": [["magnet", "ours"]],
    }
    known = sources(defenses={"ours": {0: defended}})
    (cell,) = found(spec, reading, known, reported)
    assert (cell.row, cell.column) == ("ead_l1,kappa=5", "magnet")
    assert cell.seeds[0]["good"].tolist() == [True]
    (cell,) = found(spec, reading | {"bits": "8bit"}, known, reported)
    assert cell.seeds[0]["good"].tolist() == [False]


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"feature": "none", "detector": "threshold"}, "no file of the feature none"),
        ({"feature": "k", "detector": "tree"}, "no scores of k with detector tree"),
        ({"feature": "k", "column": "x", "adversarial": "high"}, "of the feature k of clean"),
    ],
)
def test_what_is_not_there_is_named(method, said):
    spec = {"kind": "detection", "methods": [["m", method]]}
    with pytest.raises(AdvdetectError, match=said):
        found(spec, {"attacks": [["FGM", "fgm"]]}, sources(scores={"k": {0: reader(scores())}}))
