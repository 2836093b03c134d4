from io import StringIO

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.defenses import defense_accuracies
from advdetect.papers.readings import reported_defenses
from advdetect.tables.defense_table import defense_table, stored_defense_table
from advdetect.tables.rendering import to_csv, to_markdown

COUNT = 60


def outcome(seed, share):
    """What a defence did, drawn at random: clean images, and one attack in both forms."""
    generator = np.random.default_rng(seed)
    parts = []
    for attack, kind in (
        ("clean", "clean"),
        ("cw_l2,kappa=5", "adversarial"),
        ("cw_l2,kappa=5", "adversarial_8bit"),
    ):
        parts.append(
            pd.DataFrame(
                {
                    "attack": attack,
                    "kind": kind,
                    "index": np.arange(COUNT),
                    "good": generator.random(COUNT) < share,
                    "success": True if kind == "clean" else generator.random(COUNT) < 0.7,
                }
            )
        )
    return pd.concat(parts, ignore_index=True).astype({"attack": "category"})


@pytest.fixture
def defenses():
    return {
        name: {seed: outcome(10 * seed + len(name), share) for seed in (0, 1)}
        for name, share in (("magnet", 0.3), ("mid", 0.8))
    }


def accuracies(defenses, **protocol):
    protocol = {"bits": "float32", "positives": "successful"} | protocol
    return defense_accuracies(defenses, **protocol, replicates=300, seed=0)


@pytest.mark.parametrize("bits", ["float32", "8bit"])
@pytest.mark.parametrize("positives", ["successful", "all"])
def test_accuracy_is_the_share_of_good_images(defenses, bits, positives):
    cells = accuracies(defenses, bits=bits, positives=positives)
    kind = "adversarial_8bit" if bits == "8bit" else "adversarial"
    for cell in cells.to_dict("records"):
        shares, good, bad = [], 0, 0
        for table in defenses[cell["defense"]].values():
            rows = [
                row
                for row in table.to_dict("records")
                if row["attack"] == cell["attack"]
                and row["kind"] in ("clean", kind)
                and (positives == "all" or row["success"])
            ]
            shares.append(sum(row["good"] for row in rows) / len(rows))
            good += sum(row["good"] for row in rows)
            bad += sum(not row["good"] for row in rows)
        assert cell["value"] == pytest.approx(np.mean(shares))
        assert cell["low"] < cell["value"] < cell["high"]
        assert (cell["n_positive"], cell["n_negative"]) == (good, bad)
    assert set(cells["attack"]) == {"clean", "cw_l2,kappa=5"}


def test_reported_values_stand_beside_ours_under_our_names(defenses, tmp_path):
    table = pd.DataFrame(
        [
            ("mnist", "magnet", "cw_l2", 5, 94.6),
            ("mnist", "mid", "cw_l2", 5, 95.8),
            ("mnist", "mid", "cw_l2", 10, 97.8),
            ("mnist", "other", "cw_l2", 5, 2.0),
            ("cifar10", "mid", "cw_l2", 5, 1.0),
            ("mnist", "mid", "ead_l1", 5, 39.4),
            ("mnist", "mid", "fgsm", 5, 3.0),
        ],
        columns=["dataset", "defense", "attack", "kappa", "accuracy_percent"],
    )
    table.to_csv(tmp_path / "theirs.csv", index=False)
    attacks = [["cw_l2", "cw_l2,kappa={kappa}"], ["ead_l1", "ead,rule=l1,kappa={kappa}"]]
    spec = {
        **{"reported": "theirs.csv", "dataset": "mnist", "rows": ["attack", "kappa"]},
        **{"columns": "defense", "values": [["accuracy_percent", "defense_accuracy"]]},
        "readings": [{"attacks": attacks, "defenses": [["magnet", "magnet"], ["mid", "mid"]]}],
    }
    files = {"theirs.csv": str(tmp_path / "theirs.csv")}
    reported = reported_defenses([spec], files, "")
    assert reported.to_dict("records") == [
        {"attack": "cw_l2,kappa=5", "defense": "magnet", "value": pytest.approx(0.946)},
        {"attack": "cw_l2,kappa=5", "defense": "mid", "value": pytest.approx(0.958)},
        {"attack": "cw_l2,kappa=10", "defense": "mid", "value": pytest.approx(0.978)},
        {"attack": "ead,rule=l1,kappa=5", "defense": "mid", "value": pytest.approx(0.394)},
    ]
    assert reported_defenses([], files, "") is None
    assert reported_defenses([spec | {"run": "A"}], files, "B") is None
    assert reported_defenses([spec | {"run": "A"}], files, "A").equals(reported)
    shown = defense_table(accuracies(defenses), reported, "float32")
    assert shown.header == ["Attack", "MagNet", "MagNet, reported", "MID", "MID, reported"]
    body = {name: [cell.value for cell in cells] for name, cells in shown.body()}
    assert body["C&W L2 (kappa=5)"][1::2] == ["94.6", "95.8"]
    assert body["Clean images only"][1::2] == ["–", "–"]
    assert "94.6" in to_markdown(shown)


def test_without_reported_values_there_are_only_ours(defenses):
    shown = defense_table(accuracies(defenses), None, "8bit")
    assert shown.header == ["Attack", "MagNet", "MID"]
    assert "images rounded to 8 bits" in shown.caption


def test_a_table_is_the_same_from_its_file(defenses):
    reported = pd.DataFrame({"attack": ["cw_l2,kappa=5"], "defense": ["mid"], "value": [0.9]})
    shown = defense_table(accuracies(defenses), reported, "8bit")
    again = stored_defense_table(pd.read_csv(StringIO(to_csv(shown))), "8bit")
    assert to_markdown(again) == to_markdown(shown)
    assert to_csv(again) == to_csv(shown)


def test_an_attack_without_success_has_no_value(defenses):
    for seeds in defenses.values():
        for table in seeds.values():
            table.loc[table["kind"] == "adversarial", "success"] = False
    cells = accuracies(defenses)
    none = cells[cells["attack"] == "cw_l2,kappa=5"]
    assert list(none["defense"]) == ["magnet", "mid"]
    assert none[["value", "standard_deviation", "low", "high"]].isna().all(axis=None)
    assert (none[["n_positive", "n_negative"]] == 0).all(axis=None)
    assert cells.loc[cells["attack"] == "clean", "value"].notna().all()
    body = dict(defense_table(cells, None, "float32").body())
    assert [cell.value for cell in body["C&W L2 (kappa=5)"]] == ["–", "–"]


def test_a_seed_without_success_is_left_out_of_the_mean(defenses):
    alone = accuracies({name: {0: seeds[0]} for name, seeds in defenses.items()})
    for seeds in defenses.values():
        seeds[1].loc[seeds[1]["kind"] == "adversarial", "success"] = False
    both = accuracies(defenses)
    values = [cells.set_index(["attack", "defense"])["value"] for cells in (both, alone)]
    assert values[0].xs("cw_l2,kappa=5").equals(values[1].xs("cw_l2,kappa=5"))
