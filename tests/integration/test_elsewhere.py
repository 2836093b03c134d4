"""The workflow as a module of another, called from elsewhere, and in Snakemake's own report."""

import base64
import json
import re
import shutil
from pathlib import Path

import pytest
from snakemake_project import Project

pytestmark = pytest.mark.integration

STUDY = """\
module advdetect:
    snakefile: "{snakefile}"
    config: config

use rule * from advdetect

rule summary:
    input: "results/tiny/tables/detection.csv"
    output: "summary.csv"
    shell: "cp {{input}} {{output}}"
"""


def elsewhere(first_run, folder: Path) -> Project:
    """Return a project in a folder that has the results of the first run, but not the workflow."""
    shutil.copytree(first_run[0].folder / "results", folder / "results")
    return Project(folder, snakefile=first_run[0].folder / "Snakefile")


@pytest.fixture
def called_from(first_run, tmp_path) -> Project:
    return elsewhere(first_run, tmp_path / "study")


@pytest.fixture
def study(first_run, tmp_path) -> Project:
    """Another workflow, with a rule of its own that reads a table."""
    project = elsewhere(first_run, tmp_path / "study")
    project.write("Snakefile", STUDY.format(snakefile=project.snakefile))
    return Project(project.folder)


def test_a_call_from_another_folder_makes_what_is_missing_there(called_from, first_run):
    assert called_from.plan() == set()
    (called_from.results / "tables" / "detection.csv").unlink()
    assert called_from.plan() == {"tables"}
    called_from.run()
    assert called_from.contents() == first_run[0].contents()
    assert called_from.plan() == set()


def test_a_rule_of_another_workflow_gets_a_table_of_the_module(study, first_run):
    table = first_run[0].results / "tables" / "detection.csv"
    (study.results / "tables" / "detection.csv").unlink()
    study.run("summary.csv")
    assert (study.folder / "summary.csv").read_bytes() == table.read_bytes()
    assert study.contents() == first_run[0].contents()
    assert study.plan("summary.csv") == study.plan() == set()


def test_a_rule_of_another_workflow_gets_no_table_that_is_out_of_date(study):
    """The table is there, but with the intervals of another number of replicates."""
    study.run("summary.csv")
    planned = study.plan("summary.csv", config=["overrides=evaluation.replicates=150"])
    assert {"tables", "metrics_kd", "summary"} <= planned


def test_snakemakes_report_holds_all_tables_and_figures_with_captions(finished, repository):
    finished.run("--report", "snakemake.html")
    page = (finished.folder / "snakemake.html").read_text()
    (text,) = re.findall(r"var results = (\{.*\});?\n", page)
    shown = json.loads(text)
    tables = {path for path in (finished.results / "tables").iterdir() if path.suffix == ".md"}
    figures = {path for path in (finished.results / "figures").iterdir() if path.suffix == ".svg"}
    assert {finished.folder / path for path in shown} == tables | figures
    assert len(tables) > len(figures) > 5
    for path, entry in shown.items():
        held = base64.b64decode(entry["data_uri"].partition("base64,")[2])
        assert held == (finished.folder / path).read_bytes()
        assert entry["labels"] == {"name": Path(path).stem}
        kind = "tables" if path.endswith(".md") else "figure"
        caption = (repository / "workflow" / "report" / f"{kind}.rst").read_text()
        assert re.sub(r"<[^>]*>", "", entry["caption"]).split() == caption.split()
    categories = re.findall(r"var categories = (\{.*\});?\n", page)
    assert {name for text in categories for name in json.loads(text)} == {"Tables", "Figures"}
