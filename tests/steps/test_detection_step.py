import json

import numpy as np
import pandas as pd
import pytest
from step_runs import detection_spec, write_attack

from advdetect.__main__ import main
from advdetect.io import read_table, write_table

SPEC = detection_spec(
    [
        [
            "naive_bayes",
            {
                "_target_": "advdetect.detectors.naive_bayes.naive_bayes",
                "variance_smoothing": 1e-9,
            },
        ]
    ]
)
COUNT = 40


@pytest.fixture
def files(tmp_path):
    """Features and attacks of two attacks; every image fools."""
    generator = np.random.default_rng(0)
    index = np.arange(COUNT)
    features, attacks = {}, {}
    kinds = ["noisy", "adversarial", "noisy_8bit", "adversarial_8bit"]
    for name in ("clean", "a", "b"):
        tables = [
            pd.DataFrame({"index": index, "kind": kind, "x": generator.normal(size=COUNT)})
            for kind in (kinds if name != "clean" else ["clean"])
        ]
        features[name] = tmp_path / f"{name}.parquet"
        write_table(
            features[name], pd.concat(tables), {"step": "feature", "attack": name, "name": "k"}
        )
    for name in ("a", "b"):
        attacks[name] = tmp_path / f"{name}.safetensors"
        fooled = np.ones(COUNT, dtype=bool)
        facts = {"step": "attack", "name": name, "seed": 0, "key": f"attack {name}"}
        write_attack(attacks[name], facts, index=index, success=fooled, success_8bit=fooled)
    return features, attacks


def fit(folder, features, attacks, stage="fit-detectors", seed=0, spec=SPEC):
    common = ["--spec", json.dumps(spec), "--name", "k", "--seed", seed]
    inputs = [*common, "--features", *features, "--attacks", *attacks]
    split, fitted = folder / "split.parquet", folder / "fitted.parquet"
    outputs = {
        "fit-detectors": ["--thresholds", folder / "thresholds.parquet", "--output", fitted],
        "score": ["--detectors", fitted, "--output", folder / "scores.parquet"],
    }
    return main([str(part) for part in [stage, *inputs, "--split", split, *outputs[stage]]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, a: a.pop("b"), "--attacks lacks the file of the attack b."),
        (lambda f, a: f.pop("b"), "--features lacks the files of the attack b"),
        (lambda f, a: f.pop("clean"), "--features lacks the file of the clean images."),
        (lambda f, a: a["b"].write_bytes(a["a"].read_bytes()), "are both of the attack a."),
    ],
)
def test_features_and_attacks_must_belong_together(files, tmp_path, capsys, change, message):
    features, attacks = files
    change(features, attacks)
    assert fit(tmp_path, features.values(), attacks.values()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_an_attack_on_fewer_images_than_its_features_is_refused(files, tmp_path, capsys):
    features, attacks = files
    few = np.ones(COUNT - 1, dtype=bool)
    columns = {"index": np.arange(COUNT - 1), "success": few, "success_8bit": few}
    write_attack(attacks["b"], {"step": "attack", "name": "b", "seed": 0, "key": "few"}, **columns)
    assert fit(tmp_path, features.values(), attacks.values()) == 1
    assert "has images of the attack b that" in capsys.readouterr().err
    write_attack(attacks["b"], {"step": "attack", "name": "b", "seed": 3, "key": "few"}, **columns)
    assert fit(tmp_path, features.values(), attacks.values()) == 1
    assert "is of seed 3, not of seed 0" in capsys.readouterr().err


def test_detectors_of_another_specification_or_seed_are_refused(files, tmp_path, capsys):
    features, attacks = (list(group.values()) for group in files)
    assert fit(tmp_path, features, attacks) == 0
    assert fit(tmp_path, features, attacks, stage="score") == 0
    scores = read_table(tmp_path / "scores.parquet", wanted={"trained_on": "b", "bits": "8bit"})
    assert set(scores["trained_on"]) == {"b"}
    split = read_table(tmp_path / "split.parquet")
    assert set(scores["index"]) == set(split.loc[~split["fitting"], "index"])
    thresholds = read_table(tmp_path / "thresholds.parquet")
    assert set(thresholds["false_positive_rate"]) == {0.01, 0.05}
    capsys.readouterr()
    other = SPEC | {"train_fraction": 0.6}
    assert fit(tmp_path, features, attacks, stage="score", spec=other) == 1
    assert "fitted.parquet is of another spec" in capsys.readouterr().err
    assert fit(tmp_path, features[:2], attacks[:1], stage="score") == 1
    assert "fitted.parquet is of another attacks" in capsys.readouterr().err
