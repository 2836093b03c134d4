"""A figure that compares runs is drawn of the files of all of them."""

import json

import pytest
from step_runs import SEED, figure_spec, judged, run, run_feature

from advdetect.__main__ import main
from advdetect.io import read_provenance


@pytest.fixture(scope="module")
def files(chain, other, config, tmp_path_factory):
    """An attack and a feature of two models; the identifier of each."""
    made, runs = [], []
    for number, folder in enumerate((chain, other)):
        place = tmp_path_factory.mktemp(f"run{number}")
        attack, feature = place / "fgsm_probabilities.safetensors", place / "zero.parquet"
        run(
            *("attack", "--spec", config / "attack/fgsm_probabilities.yaml", "--seed", SEED),
            *("--name", "fgsm_probabilities", "--device", "cpu", *judged(folder)),
            *("--output", attack),
        )
        run_feature(folder, config / "feature/zero_gradient.yaml", "clean", feature)
        made += [attack, feature]
        runs.append(read_provenance(attack)["run"])
    return made, runs


def drawn(config, files, numbers, output):
    made, runs = files
    labels = json.dumps(dict(zip(runs, ("few", "many"), strict=True)))
    spec = figure_spec(
        *(config, "success_over_runs"),
        runs=numbers,
        parameter="temperature",
        feature="zero_gradient",
        columns=[["no gradient", "zero_gradient"]],
    )
    command = ("figure", "--spec", spec, "--inputs", *made, "--runs", labels, "--output", output)
    return main(list(map(str, command)))


def test_it_has_one_panel_for_all_runs(config, files, tmp_path, capsys):
    output = tmp_path / "figure.svg"
    # What another experiment has besides is left out.
    assert drawn(config, files, [["few", 2], ["many", 3], ["more", 9]], output) == 0
    text = output.read_text()
    assert text.count('id="axes_') == 1
    assert all(f'id="{name}"' in text for name in ("fgsm_probabilities", "no gradient"))
    assert drawn(config, files, [["none", 2], ["neither", 3]], output) == 1
    assert "none of none, neither has a file" in capsys.readouterr().err
