"""Comparing the results of finished runs."""

import sys

import pandas as pd
import pytest
from snakemake_project import execute

pytestmark = pytest.mark.integration


@pytest.mark.long
def test_a_run_is_equal_to_itself_in_every_cell(first_run, tmp_path):
    project, _ = first_run
    command = [sys.executable, "-m", "advdetect", "compare", "results/tiny", "results/tiny"]
    cells = tmp_path / "cells.csv"
    outcome = execute(
        [*command, "--fail-on-change", "--csv", str(cells)],
        project.folder,
        {"PYTHONPATH": str(project.folder / "src")},
    )
    assert outcome.status == 0, outcome.output
    assert outcome.output.endswith("\nSettings, code and versions are the same.\n")
    tables = [
        path for path in (project.results / "tables").glob("*.csv") if path.stem != "attack_summary"
    ]
    compared = pd.read_csv(cells)
    assert set(compared["table"]) == {path.stem for path in tables}
    assert len(compared) == sum(len(pd.read_csv(path)) for path in tables)
    assert set(compared["outcome"]) == {"equal"}
