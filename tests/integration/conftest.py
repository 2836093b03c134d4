from pathlib import Path

import pytest
from snakemake_project import Project, new_project


@pytest.fixture(scope="session")
def source(tmp_path_factory, repository) -> Project:
    """The workflow without results; tests leave it as it is."""
    return new_project(repository, tmp_path_factory.mktemp("source") / "project")


@pytest.fixture(scope="session")
def first_run(tmp_path_factory, repository) -> tuple[Project, str]:
    """The finished tiny experiment, which tests leave as it is, and what the run printed."""
    project = new_project(repository, tmp_path_factory.mktemp("finished") / "project")
    return project, project.run()


@pytest.fixture
def finished(first_run, tmp_path: Path) -> Project:
    """A copy of the finished tiny experiment, to be changed."""
    return first_run[0].copy(tmp_path / "project")
