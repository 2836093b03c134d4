"""Auto-encoders, their features and a defence, by hand."""

import json

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from step_runs import SEED, judged, model_of, run

from advdetect.__main__ import main
from advdetect.evaluation.defenses import defense_accuracies
from advdetect.io import read_provenance, read_table, write_table

DRAW = "advdetect.figures.defense_accuracy.draw"
REPORTED = "hsu_2018_defense_accuracy.csv"

AUTOENCODERS = [
    {"kind": "denoising", "structure": [4], "noise": 0.05},
    {"kind": "denoising", "structure": [3], "noise": 0.05},
]


@pytest.fixture(scope="module")
def defended(chain, config, tmp_path_factory):
    """A folder with auto-encoders, the features magnet and mid, and what a defence made of them."""
    folder = tmp_path_factory.mktemp("defense")
    train = ["--train", chain / "train.safetensors"]
    model = model_of(chain)
    common = ["--seed", SEED, "--device", "cpu"]
    magnet = ["--spec", config / "feature/magnet.yaml", "--set", f"autoencoders={AUTOENCODERS}"]
    magnet += ["--set", "epochs=3", "--set", "held_out=0.4"]
    fitted = folder / "magnet.safetensors"
    run("fit-feature", *magnet, *common, *model, *train, "--output", fitted)
    sources = {
        "held_out": [*model, *train],
        "clean": judged(chain),
        "otcm": [*judged(chain), "--attack", chain / "otcm.safetensors"],
    }
    features = []
    for name, spec in (("magnet", magnet), ("mid", ["--spec", config / "feature/mid.yaml"])):
        for source, where in sources.items():
            features.append(folder / f"{name}_{source}.parquet")
            run(
                *("feature", *spec, *common, "--name", name, *where, "--fitted", fitted),
                *("--output", features[-1]),
            )
    spec = {
        "_target_": "advdetect.defenses.defense.defend",
        "reformer": 1,
        "detectors": [
            {
                "feature": feature,
                "column": column,
                "adversarial": "high",
                "false_positive_rate": 0.05,
            }
            for feature, column in (
                ("magnet", "reconstruction_error_1"),
                ("mid", "mutual_information"),
            )
        ],
    }
    arguments = [
        *("defend", "--spec", json.dumps(spec), "--name", "mid", "--device", "cpu"),
        *(*judged(chain), "--attacks", chain / "otcm.safetensors", "--fitted", fitted),
        *("--output", folder / "mid.parquet"),
    ]
    run(*arguments, "--features", *features)
    return folder, arguments, features


def test_thresholds_come_from_images_that_nothing_was_fitted_on(defended, chain):
    folder, _, _ = defended
    held_out = pd.read_parquet(folder / "magnet_held_out.parquet")
    index = load_file(folder / "magnet.safetensors")["held_out"]
    assert held_out["index"].tolist() == index.tolist()
    assert len(index) == 0.4 * len(load_file(chain / "train.safetensors")["labels"])
    thresholds = read_provenance(folder / "mid.parquet")["thresholds"]
    assert set(thresholds) == {"magnet.reconstruction_error_1", "mid.mutual_information"}
    above = held_out["reconstruction_error_1"] > thresholds["magnet.reconstruction_error_1"]
    assert above.mean() <= 0.05


def test_images_are_flagged_or_mended(defended, chain):
    folder, _, _ = defended
    table = pd.read_parquet(folder / "mid.parquet")
    assert set(zip(table["attack"], table["kind"], strict=True)) == {
        ("clean", "clean"), ("otcm", "adversarial"), ("otcm", "adversarial_8bit"),
    }  # fmt: skip
    attack = load_file(chain / "otcm.safetensors")
    labels = load_file(chain / "test.safetensors")["labels"]
    thresholds = read_provenance(folder / "mid.parquet")["thresholds"]
    values = pd.read_parquet(folder / "magnet_otcm.parquet")
    for kind, suffix in (("adversarial", ""), ("adversarial_8bit", "_8bit")):
        rows = table[table["kind"] == kind]
        changed = attack[f"changed{suffix}"]
        assert rows["index"].tolist() == attack["index"][changed].tolist()
        assert rows["success"].tolist() == attack[f"success{suffix}"][changed].tolist()
        errors = values.loc[values["kind"] == kind, "reconstruction_error_1"].to_numpy()
        flagged = errors > thresholds["magnet.reconstruction_error_1"]
        by = rows["flagged_by_magnet.reconstruction_error_1"].to_numpy()
        assert (by == flagged).all()
        truth = labels[torch.from_numpy(rows["index"].to_numpy(copy=True))].numpy()
        assert (rows["good"] == (rows["flagged"] | (rows["reformed_class"] == truth))).all()
    clean = table[table["kind"] == "clean"]
    truth = labels[torch.from_numpy(clean["index"].to_numpy(copy=True))].numpy()
    assert (clean["good"] == (~clean["flagged"] & (clean["reformed_class"] == truth))).all()


def test_rounded_images_may_be_left_out(defended, tmp_path):
    folder, arguments, features = defended
    output = tmp_path / "mid.parquet"
    run(*arguments[:-1], output, "--features", *features, "--bits", '["float32"]')
    both = pd.read_parquet(folder / "mid.parquet")
    expected = both[both["kind"] != "adversarial_8bit"].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_parquet(output), expected)
    assert read_provenance(output)["bits"] == ["float32"]


def test_an_attack_that_changed_nothing_has_no_value(defended, attack, tmp_path):
    _, arguments, features = defended
    unchanged, output = attack("step_methods.stay"), tmp_path / "mid.parquet"
    at = arguments.index("--attacks") + 1
    arguments = [*arguments[:at], unchanged, *arguments[at:-1], output]
    run(*arguments, "--features", *features)
    table = read_table(output)
    assert set(table["attack"]) == {"clean", "otcm"}
    setting = {"bits": "float32", "positives": "all", "replicates": 20, "seed": 0}
    cells = defense_accuracies({"mid": {0: table}}, **setting).set_index("attack")
    assert cells["value"].isna().to_dict() == {"clean": False, "attack": True, "otcm": False}


def test_the_figure_is_drawn_of_a_sweep_with_reported_values(defended, config, tmp_path):
    """Of files in which the attack stands for two values of κ."""
    folder, _, _ = defended
    table = pd.read_parquet(folder / "mid.parquet")
    kappas = [table[table["attack"] == "otcm"].assign(attack=f"cw_l2,kappa={k}") for k in (0, 5)]
    swept = tmp_path / "mid.parquet"
    facts = read_provenance(folder / "mid.parquet")
    every = pd.concat([table, *kappas], ignore_index=True).astype({"attack": "category"})
    write_table(swept, every, facts)
    drawn = []
    for defense in ("magnet", "mid"):
        output = tmp_path / f"{defense}.svg"
        reading = {"attacks": [["cw_l2", "cw_l2,kappa={kappa}"]], "defenses": [["mid", defense]]}
        table = {
            **{"reported": REPORTED, "dataset": "mnist", "rows": ["attack", "kappa"]},
            **{"columns": "defense", "values": [["accuracy_percent", "defense_accuracy"]]},
            "readings": [reading],
        }
        spec = {"_target_": DRAW, "replicates": 20, "bootstrap_seed": 0, "reproductions": [table]}
        run(
            *("figure", "--spec", json.dumps(spec), "--inputs", swept, "--output", output),
            *("--reported", config / "reference" / REPORTED),
        )
        assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        drawn.append(output.read_text())
    assert ["mid_reported" in text for text in drawn] == [False, True]


def test_missing_features_are_named(defended, capsys):
    _, arguments, features = defended
    without = [path for path in features if "otcm" not in path.name]
    assert main([*map(str, arguments), "--features", *map(str, without)]) == 1
    assert "--features lacks the files of otcm (adversarial)." in capsys.readouterr().err


def test_a_model_that_held_nothing_out_is_refused(defended, chain, config, capsys):
    arguments = [
        *("feature", "--spec", config / "feature/bu.yaml", "--name", "bu", "--device", "cpu"),
        *model_of(chain),
        *("--train", chain / "train.safetensors", "--output", "never.parquet"),
    ]
    assert main(list(map(str, arguments))) == 1
    assert "bu has no images that it was not fitted on" in capsys.readouterr().err


def test_sensitivity_is_computed_for_successes_of_all_images(chain, tmp_path):
    output = tmp_path / "sensitivity.safetensors"
    run(
        *("sensitivity", "--spec", '{"classes": "all", "examples": 3}', "--device", "cpu"),
        *(*model_of(chain), "--test", chain / "test.safetensors"),
        *("--attack", chain / "otcm.safetensors", "--output", output),
    )
    found, attack = load_file(output), load_file(chain / "otcm.safetensors")
    rows = attack["success"].nonzero().flatten()
    # The images may be in the order of their classes.
    rows = rows[[0, len(rows) // 3, 2 * len(rows) // 3]]
    assert torch.equal(found["index"], attack["index"][rows])
    assert torch.equal(found["adversarial"], attack["adversarial"][rows])
    for kind in ("clean", "adversarial"):
        maps = found[f"{kind}_sensitivity"]
        assert maps.shape == (3, 1, 8, 8)
        assert torch.equal(maps.abs().amax(dim=(1, 2, 3)), torch.ones(3).double())
        assert found[f"{kind}_log10_peak"].isfinite().all()
