"""From the files of attacks to the table and the figures of least perturbations."""

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from step_runs import SEED, figure_spec, judged, run

from advdetect.evaluation.inputs import read_norms
from advdetect.evaluation.metrics import evaluate_feature


@pytest.fixture(scope="module")
def attacks(chain, config, tmp_path_factory):
    """Files of a line search, of an iterated search and of a budget that is swept."""
    folder = tmp_path_factory.mktemp("least")
    methods = {
        "fgm_least": ("fgm_least", ["--set", "epsilon_max=1.2"]),
        "bim_l2_least": ("bim_l2_least", ["--set", "epsilon=0.8", "--set", "steps=8"]),
        "fgm,epsilon=1.0": ("fgm", ["--set", "epsilon=1.0"]),
    }
    for name, (method, changes) in methods.items():
        run(
            *("attack", "--spec", config / f"attack/{method}.yaml", *changes, "--name", name),
            *("--seed", SEED, "--device", "cpu", *judged(chain)),
            *("--output", folder / f"{name}.safetensors"),
        )
    return [folder / f"{name}.safetensors" for name in methods]


def test_a_minimal_norm_attack_goes_through_the_step_like_any_other(attacks, chain):
    arrays = load_file(attacks[0])
    failed = ~arrays["success"]
    assert failed.any()
    assert not failed.all()
    images = load_file(chain / "test.safetensors")["images"][arrays["index"]] / 255
    np.testing.assert_array_equal(arrays["adversarial"][failed], images[failed])
    assert (arrays["l2"][failed] == 0).all()
    assert (arrays["l2"][~failed] > 0).all()


def test_the_kind_of_an_attack_is_read_from_its_file(attacks):
    read = read_norms(attacks)
    assert [(a.attack, a.minimal_norm, a.one_step) for a in read] == [
        ("fgm_least", True, True),
        ("bim_l2_least", True, False),
        ("fgm,epsilon=1.0", False, True),
    ]
    stored = load_file(attacks[0])
    (table,) = read[0].seeds.values()
    np.testing.assert_array_equal(table["l2"], stored["l2"])
    np.testing.assert_array_equal(table["success"], stored["success"])
    assert list(read[0].seeds) == [int(SEED)]


def test_the_table_is_written_with_the_others(attacks, tmp_path):
    scores = pd.DataFrame(
        {
            "detector": "random_forest",
            "trained_on": "fgm_least",
            "tested_on": "fgm_least",
            "index": [0, 1, 0, 1],
            "kind": ["clean", "clean", "adversarial", "adversarial"],
            "score": [0.0, 1.0, 1.0, 2.0],
        }
    )
    protocols = [
        scores.assign(bits=bits, positives=positives)
        for bits in ("float32", "8bit")
        for positives in ("successful", "all")
    ]
    metrics = evaluate_feature(
        {0: protocols}, replicates=10, seed=0, primary_detector="random_forest"
    )
    metrics.assign(feature="kd").to_csv(tmp_path / "kd.csv", index=False)
    run(
        *("tables", "--metrics", tmp_path / "kd.csv", "--attacks", *attacks),
        *("--replicates", "50", "--bootstrap-seed", "3", "--output", tmp_path),
    )
    cells = pd.read_csv(tmp_path / "least_perturbation.csv").set_index(["attack", "quantity"])
    assert set(cells.index.get_level_values("attack")) == {"fgm_least", "bim_l2_least"}
    stored = load_file(attacks[0])
    mean = stored["l2"][stored["success"]].mean()
    assert cells.loc[("fgm_least", "least_l2"), "value"] == pytest.approx(float(mean))
    assert (tmp_path / "least_perturbation.md").is_file()


def test_the_figures_are_drawn(attacks, chain, config, tmp_path):
    spectrum = tmp_path / "fisher_input.parquet"
    run(
        *("feature", "--spec", config / "feature/fisher_input.yaml", "--name", "fisher_input"),
        *("--seed", SEED, "--device", "cpu", *judged(chain), "--output", spectrum),
    )
    for name, inputs in {
        "fooling_rate": attacks,
        "eigenvalue_perturbation": [attacks[0], spectrum],
    }.items():
        output = tmp_path / f"{name}.svg"
        spec = figure_spec(config, name)
        run("figure", "--spec", spec, "--inputs", *inputs, "--output", output)
        assert output.read_text().startswith("<?xml")
        assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
