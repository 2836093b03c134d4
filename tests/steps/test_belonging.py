"""Files that do not belong together are refused by the steps that read them, in one line."""

import json
import shutil

import pytest
from step_runs import SEED, detect, detection_spec, judged, run, run_feature

from advdetect.__main__ import main
from advdetect.io import read_provenance

THRESHOLD = {"_target_": "advdetect.detectors.threshold.threshold", "_needs_score_": True}
SCORE = {"column": "log10_one_minus_max_probability", "adversarial": "high"}
SPEC = detection_spec([["threshold", THRESHOLD]], score=SCORE)


@pytest.fixture
def fails(capsys):
    """Run a step that must fail; return its error."""

    def fails(*arguments: object) -> str:
        capsys.readouterr()
        assert main(list(map(str, arguments))) == 1
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith(f"advdetect {arguments[0]}: error: ")
        return line

    return fails


@pytest.fixture(scope="module")
def attacks(chain, other, config, tmp_path_factory):
    """The same attack on both models, by the folder of the model."""
    files = {chain: chain / "otcm.safetensors"}
    files[other] = tmp_path_factory.mktemp("attack") / "otcm.safetensors"
    run(
        *("attack", "--spec", config / "attack/otcm.yaml", "--set", "epsilon=2.5"),
        *("--name", "otcm", "--seed", SEED, "--device", "cpu", *judged(other)),
        *("--output", files[other]),
    )
    return files


@pytest.fixture(scope="module")
def scores(chain, other, attacks, config, tmp_path_factory):
    """Features and scores of the same detector for both models, by the folder of the model."""
    made = {}
    for folder in (chain, other):
        files = tmp_path_factory.mktemp("scores")
        features = [files / "clean.parquet", files / "otcm.parquet"]
        for source, output in zip(("clean", attacks[folder]), features, strict=True):
            run_feature(folder, config / "feature/max_probability.yaml", source, output)
        scored = files / "scores.parquet"
        detect(SPEC, "p", features=features, attacks=[attacks[folder]], output=scored)
        made[folder] = (features, scored)
    return made


def feature(config, folder, output, *arguments):
    spec = config / "feature/max_probability.yaml"
    common = ("--name", "p", "--seed", SEED, "--device", "cpu", *judged(folder))
    return ("feature", "--spec", spec, *common, *arguments, "--output", output)


def test_a_feature_of_an_attack_on_another_model_is_refused(
    chain, other, attacks, config, tmp_path, fails
):
    output = tmp_path / "p.parquet"
    error = fails(*feature(config, other, output, "--attack", attacks[chain]))
    assert "do not belong together: they were made with a different model" in error
    assert str(attacks[chain]) in error
    assert not output.exists()


def test_a_model_is_refused_with_what_another_gets_right(chain, other, config, tmp_path, fails):
    output = tmp_path / "p.parquet"
    changed = ("--clean", other / "clean.safetensors")
    error = fails(*feature(config, chain, output, *changed))
    assert "different model" in error
    assert not output.exists()


def test_features_of_one_model_and_attacks_on_another_are_refused(
    chain, other, attacks, scores, tmp_path, fails
):
    features, _ = scores[chain]
    error = fails(
        *("fit-detectors", "--spec", json.dumps(SPEC), "--name", "p", "--seed", SEED),
        *("--features", *features, "--attacks", attacks[other]),
        *("--split", tmp_path / "s", "--thresholds", tmp_path / "t", "--output", tmp_path / "f"),
    )
    assert "do not belong together" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["evaluate", "paired"])
def test_scores_of_two_models_are_refused_without_labels(
    chain, other, scores, tmp_path, fails, step
):
    files = [scores[folder][1] for folder in (chain, other)]
    name = ("--name", "p") if step == "evaluate" else ()
    for order in (files, files[::-1]):
        error = fails(step, *name, "--scores", *order, "--output", tmp_path / "x.csv")
        assert f"{order[0]} and {order[1]} are of the same run and seed" in error
    assert not (tmp_path / "x.csv").exists()


def test_scores_of_two_models_are_kept_apart_by_their_labels(chain, other, scores, tmp_path):
    files = {label: scores[of][1] for label, of in {"well": chain, "badly": other}.items()}
    labels = {read_provenance(file)["run"]: label for label, file in files.items()}
    assert len(labels) == 2
    tables = []
    for order in (list(files.values()), list(files.values())[::-1]):
        tables.append(tmp_path / f"{len(tables)}.csv")
        run(
            *("evaluate", "--name", "p", "--scores", *order, "--runs", json.dumps(labels)),
            *("--replicates", 20, "--primary-detector", "threshold", "--output", tables[-1]),
        )
    assert tables[0].read_text() == tables[1].read_text()
    assert {line.partition(",")[0] for line in tables[0].read_text().splitlines()} == {
        *("run", "well", "badly")
    }


@pytest.fixture(scope="module")
def keyed(chain, config, tmp_path_factory):
    """Two attacks under the names that they have in a store."""
    folder, files = tmp_path_factory.mktemp("keyed"), []
    for epsilon in (2.0, 2.5):
        common = ("--set", f"epsilon={epsilon}", "--name", "otcm", "--seed", SEED)
        attack = ("attack", "--spec", config / "attack/otcm.yaml", *common, "--device", "cpu")
        run(*attack, *judged(chain), "--output", folder / "otcm.safetensors")
        key = read_provenance(folder / "otcm.safetensors")["key"]
        files.append(folder / f"otcm.{key}.safetensors")
        run(*attack, *judged(chain), "--output", files[-1])
    return files


def test_another_attack_in_the_place_of_one_is_refused(chain, keyed, config, tmp_path, fails):
    right = tmp_path / keyed[0].name
    shutil.copy(keyed[0], right)
    run(*feature(config, chain, tmp_path / "p.parquet", "--attack", right))
    shutil.copy(keyed[1], right)
    error = fails(*feature(config, chain, tmp_path / "other.parquet", "--attack", right))
    assert f"{right} is another file than its name says" in error
    assert not (tmp_path / "other.parquet").exists()


def test_an_attack_is_not_written_under_the_name_of_another(chain, keyed, config, fails):
    before = keyed[0].read_bytes()
    error = fails(
        *("attack", "--spec", config / "attack/otcm.yaml", "--set", "epsilon=2.5"),
        *("--name", "otcm", "--seed", SEED, "--device", "cpu", *judged(chain)),
        *("--output", keyed[0]),
    )
    assert f"{keyed[0]} is to be made from other inputs or settings than those given" in error
    assert keyed[0].read_bytes() == before
