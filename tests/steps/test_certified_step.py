"""The table and the figure of certified accuracy from files, of one run and of several."""

import json

import pandas as pd
import pytest
from step_runs import figure_spec, run

from advdetect.__main__ import main
from certified_files import attacked_file, clean_file


def options_for(tmp_path, *paths):
    return (
        *("certified", "--certificates", *paths, "--alpha", "0.001", "--radii", "0.05", "1.0"),
        *("--replicates", "20", "--output", tmp_path / "tables"),
    )


def test_the_table_is_written_in_every_format(tmp_path, capsys):
    run(*options_for(tmp_path, clean_file(tmp_path), attacked_file(tmp_path)))
    cells = pd.read_csv(tmp_path / "tables/certified.csv").set_index("quantity")
    assert cells["value"].to_dict() == {
        **{"base_accuracy": 0.75, "smoothed_accuracy": 0.5, "abstained": 0.25},
        **{"certified,r=0.05": 0.5, "attacked,r=0.05": 0.5},
        **{"certified,r=1": 0, "attacked,r=1": 0.25, "broken": 0},
    }
    text = (tmp_path / "tables/certified.md").read_text()
    assert "Certified (r=0.05)" in text
    assert "Under attack (r=1)" in text
    assert "σ = 0.25" in text
    assert {path.suffix for path in (tmp_path / "tables").iterdir()} == {
        *(".csv", ".md", ".tex", ".txt")
    }
    assert "warning" not in capsys.readouterr().err


def test_a_broken_certificate_is_a_warning(tmp_path, capsys):
    run(*options_for(tmp_path, clean_file(tmp_path, sigma=0.5), attacked_file(tmp_path, sigma=0.5)))
    capsys.readouterr()
    run(*options_for(tmp_path, clean_file(tmp_path, sigma=2.0), attacked_file(tmp_path, sigma=2.0)))
    assert "warning: attacks change 2 images inside" in capsys.readouterr().err


def test_files_of_another_stage_are_refused(chain, tmp_path, capsys):
    arguments = options_for(tmp_path, chain / "otcm.safetensors")
    assert main(list(map(str, arguments))) == 1
    assert "is no file of certify" in capsys.readouterr().err


@pytest.mark.parametrize("attacked", [False, True])
def test_the_figure_is_drawn(config, tmp_path, attacked):
    paths = [clean_file(tmp_path), *([attacked_file(tmp_path)] if attacked else [])]
    spec = json.loads(figure_spec(config, "certified_accuracy"))
    spec |= {"alpha": 0.001, "replicates": 20, "bootstrap_seed": 0}
    output = tmp_path / "certified_accuracy.svg"
    run("figure", "--spec", json.dumps(spec), "--inputs", *paths, "--output", output)
    assert output.read_text().startswith("<?xml")
    assert output.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
