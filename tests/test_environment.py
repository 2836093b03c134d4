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
    extras = [project["optional-dependencies"][name] for name in ("test", "dev", "slurm")]
    wanted = [*project["dependencies"], *(entry for entries in extras for entry in entries)]
    names = {normalized(re.match(r"[A-Za-z0-9._-]+", entry).group()) for entry in wanted}
    assert names - {"advdetect"} <= set(locked)


def test_the_conda_environment_has_the_locked_versions(repository, locked):
    environment = yaml.safe_load((repository / "envs" / "advdetect.yaml").read_text())
    pins = dict(entry.split("==") for entry in environment["dependencies"][-1]["pip"])
    assert pins == {name: locked[name] for name in pins}
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    needed = {normalized(re.match(r"[A-Za-z0-9._-]+", e).group()) for e in project["dependencies"]}
    assert needed <= set(pins)


def test_the_container_has_what_the_readme_installs(repository, locked):
    """No engine builds it here: what it copies is there, and its install is that of the README."""
    lines = (repository / "Dockerfile").read_text().splitlines()
    commands = [line.split(maxsplit=1) for line in lines if not line.startswith("#")]
    words = [command for command, _ in commands]
    assert words == ["FROM", "WORKDIR", *["COPY"] * words.count("COPY"), "RUN"]
    arguments = {word: [rest for command, rest in commands if command == word] for word in words}

    conda = yaml.safe_load((repository / "envs" / "advdetect.yaml").read_text())
    (python,) = (entry for entry in conda["dependencies"] if str(entry).startswith("python="))
    assert arguments["FROM"] == [f"{python.replace('=', ':')}-slim"]

    sources = {source for copied in arguments["COPY"] for source in copied.split()[:-1]}
    assert all((repository / source).exists() for source in sources)
    ignored = (repository / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == sources
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"]} <= sources

    (install,) = arguments["RUN"]
    extra = re.search(r"\.\[(\w+)\]", install)[1]
    (documented,) = re.findall(
        r"pip (install .*lock) &&", (repository / "README.md").read_text().replace(" -q", "")
    )
    assert install == f"pip {documented}".replace("dev", extra).replace("-e", "--no-cache-dir -e")
    entries = project["optional-dependencies"][extra]
    assert {normalized(re.match(r"[A-Za-z0-9-]+", entry).group()) for entry in entries} <= set(
        locked
    )


def test_the_profile_for_kubernetes_says_what_its_jobs_need(repository):
    profile = yaml.safe_load((repository / "profiles" / "kubernetes" / "profile.yaml").read_text())
    version = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]
    assert profile["container-image"].endswith(f"/advdetect:{version}")
    assert profile["container-image"] in (repository / "Dockerfile").read_text()
    assert profile["default-resources"]["gpu_manufacturer"] in ("nvidia", "amd")
