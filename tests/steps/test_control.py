"""The control of features: clean images that take the path of an attack."""

import json

import pandas as pd
import pytest
import yaml
from step_runs import SEED, detect, detection_spec, judged, run, run_feature

from advdetect.__main__ import main

UNCHANGED = {"_target_": "advdetect.attacks.unchanged.unchanged"}
FOREST = {"_target_": "advdetect.detectors.random_forest.random_forest"}
FOREST |= {"trees": 5, "max_depth": 5}


def attack(chain, output, spec=UNCHANGED, name="unchanged"):
    run(
        *("attack", "--spec", json.dumps(spec), "--name", name, "--seed", SEED),
        *("--device", "cpu", *judged(chain), "--output", output),
    )
    return output


@pytest.fixture(scope="module")
def control(chain, tmp_path_factory):
    return attack(chain, tmp_path_factory.mktemp("control") / "unchanged.safetensors")


@pytest.mark.parametrize("name", ["max_probability", "energy", "fisher_input", "feature_squeezing"])
def test_values_are_those_of_the_clean_images_to_the_bit(chain, config, control, name, tmp_path):
    tables = {}
    for source, file in (("clean", "clean"), ("adversarial", control)):
        path = tmp_path / f"{source}.parquet"
        run_feature(chain, config / f"feature/{name}.yaml", file, path, name=name)
        tables[source] = pd.read_parquet(path)
        assert set(tables[source].pop("kind")) == {source}
    pd.testing.assert_frame_equal(*tables.values(), check_exact=True)


def test_a_feature_that_tells_the_paths_apart_is_found_out(chain, control, tmp_path):
    """By a detector that is trained on the control, and in the table that is made of it."""
    values = {}
    for target in ("brightness", "brightness_since_the_start"):
        files = {}
        for source in ("clean", control):
            files[source] = tmp_path / f"{target}_{len(files)}.parquet"
            spec = json.dumps({"_target_": f"step_methods.{target}"})
            run_feature(chain, spec, source, files[source], name=target)
        files["fgsm"] = tmp_path / f"{target}_fgsm.parquet"
        fgsm = yaml.safe_load("{_target_: advdetect.attacks.fgsm.fgsm, epsilon: 0.4}")
        images = attack(chain, tmp_path / "fgsm.safetensors", fgsm, "fgsm")
        run_feature(chain, spec, images, files["fgsm"], name=target)
        detect(
            detection_spec([["random_forest", FOREST]]),
            target,
            features=list(files.values()),
            attacks=[images, control],
            output=tmp_path / "scores.parquet",
        )
        run(
            *("evaluate", "--name", target, "--scores", tmp_path / "scores.parquet"),
            *("--replicates", "20", "--output", tmp_path / "metrics.csv"),
            *("--control", tmp_path / "control.csv"),
        )
        metrics, unchanged = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("metrics", "control"))
        assert set(metrics["tested_on"]) == {"fgsm"}
        assert set(unchanged["tested_on"]) == set(unchanged["trained_on"]) == {"unchanged"}
        aurocs = unchanged.query("metric == 'auroc' and seed == 'mean'")
        values[target] = aurocs["value"].item()
    assert values["brightness"] == 0.5
    assert values["brightness_since_the_start"] == 1.0


def test_an_attack_of_that_name_must_change_nothing(chain, tmp_path, capsys):
    inverting = {"_target_": "step_methods.invert", "claim": True}
    path = attack(chain, tmp_path / "unchanged.safetensors", inverting)
    spec = json.dumps({"_target_": "step_methods.brightness"})
    status = main([
        *("feature", "--spec", spec, "--name", "b", "--device", "cpu", "--attack", str(path)),
        *(*map(str, judged(chain)), "--output", str(tmp_path / "b.parquet")),
    ])  # fmt: skip
    assert status == 1
    error = capsys.readouterr().err
    assert f"{path}: an attack called unchanged must leave every image as it is." in error
    assert not (tmp_path / "b.parquet").exists()
