"""The lock file, the conda environment and pyproject.toml agree."""

import re
import tomllib

import pytest
import yaml


@pytest.fixture(scope="module")
def locked(repository):
    lines = (repository / "envs" / "requirements.lock").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normalized(name): version for name, version in pairs}


def normalized(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_everything_that_the_project_needs_is_locked(repository, locked):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(entry for extra in ("test", "dev") for entry in project["optional-dependencies"][extra]),
    ]
    names = {normalized(re.match(r"[A-Za-z0-9._-]+", entry).group()) for entry in wanted}
    assert names - {"advdetect"} <= set(locked)


def test_the_conda_environment_has_the_locked_versions(repository, locked):
    environment = yaml.safe_load((repository / "envs" / "advdetect.yaml").read_text())
    pins = dict(entry.split("==") for entry in environment["dependencies"][-1]["pip"])
    assert pins == {name: locked[name] for name in pins}
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    needed = {normalized(re.match(r"[A-Za-z0-9._-]+", e).group()) for e in project["dependencies"]}
    assert needed <= set(pins)
