"""Wrong names and values stop before any job starts, in one line, and write nothing.

What each sentence is is tested in ``tests/workflow``; here, that nothing else is printed or made.
"""

import re
from dataclasses import replace

import pytest
from snakemake_project import SNAKEMAKE, execute

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("experiment", "config", "said"),
    [
        ("tinny", [], "Unknown experiment: tinny. config/experiment/ has: cohen2019, "),
        pytest.param(
            "tiny",
            ["overrides=attack.fgsm.epsilo=1"],
            "attack.fgsm has: epsilon",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "tiny",
            ["overrides=dataset=image_folder dataset.root=no/where"],
            "dataset.root: the folder no/where does not exist",
            marks=pytest.mark.long,
        ),
        (
            "tiny",
            ["overrides=model.weights=none.safetensors"],
            "model.weights: the file none.safetensors does not exist",
        ),
    ],
)
def test_what_cannot_be_run_is_refused(source, experiment, config, said):
    outcome = replace(source, experiment=experiment).try_run(config=config)
    assert outcome.status != 0
    lines = [line for line in outcome.output.splitlines() if said in line]
    assert len(lines) == 1, outcome.output
    assert "Traceback" not in outcome.output
    assert not (source.folder / "results").exists()


def test_an_unknown_figure_is_refused(source):
    outcome = source.try_run("results/tiny/figures/rok.svg")
    assert outcome.status != 0
    assert "Unknown figure: rok. There are: training, roc, roc_low, " in outcome.output


def test_a_syntax_error_in_a_method_is_refused_before_any_job_starts(source, tmp_path):
    project = source.copy(tmp_path / "project")
    project.append("src/advdetect/attacks/otcm.py", "\ndef broken(:\n")
    outcome = project.try_run()
    assert outcome.status != 0
    assert re.search(r"src/advdetect/attacks/otcm\.py, line \d+: invalid syntax", outcome.output)
    assert not project.results.exists()


def test_an_experiment_is_planned_in_an_empty_folder_without_its_data(source, tmp_path):
    arguments = ["--dry-run", "--config", "experiment=mnist_small"]
    command = [str(SNAKEMAKE), "--snakefile", str(source.folder / "Snakefile"), *arguments]
    outcome = execute(command, tmp_path)
    assert outcome.status == 0, outcome.output
    assert "prepare_data " in outcome.output
    assert {path.name for path in tmp_path.iterdir()} <= {".snakemake"}
