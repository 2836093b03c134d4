import fcntl
from pathlib import Path

import pytest
from snakemake_project import Project, new_project


@pytest.fixture(scope="session")
def source(tmp_path_factory, repository) -> Project:
    """The workflow without results; tests leave it as it is."""
    return new_project(repository, tmp_path_factory.mktemp("source") / "project")


@pytest.fixture(scope="session")
def first_run(tmp_path_factory, repository, worker_id) -> tuple[Project, str]:
    """The finished tiny experiment, which tests leave as it is, and what the run printed.

    It is made once for all processes of pytest-xdist.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    folder.mkdir(exist_ok=True)
    project, printed = Project(folder / "project"), folder / "printed.txt"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            new_project(repository, project.folder)
            printed.write_text(project.run())
    return project, printed.read_text()


@pytest.fixture
def finished(first_run, tmp_path: Path) -> Project:
    """A copy of the finished tiny experiment, to be changed."""
    return first_run[0].copy(tmp_path / "project")
