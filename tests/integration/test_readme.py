"""What the README shows works: its commands, and its methods, copied out of it as they stand."""

import re
from dataclasses import replace

import pytest
import yaml
from snakemake_project import new_project

pytestmark = pytest.mark.integration

BLOCK = re.compile(r"```(?:python|yaml)\n# ((?:src|config)/\S+)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text()


def test_every_kind_of_method_is_shown_in_full(readme):
    paths = [path for path, _ in BLOCK.findall(readme)]
    for group, package in (
        ("attack", "attacks"),
        ("feature", "features"),
        ("detector", "detectors"),
        ("dataset", "data"),
    ):
        (yaml_path,) = (path for path in paths if path.startswith(f"config/{group}/"))
        (module_path,) = (path for path in paths if path.startswith(f"src/advdetect/{package}/"))
        assert yaml_path.endswith(".yaml")
        assert module_path.endswith(".py")


def test_ci_runs_the_commands_of_the_readme(readme, repository):
    script = (repository / ".ci" / "run").read_text()
    for name in ("install", "test"):
        assert re.search(rf"^<!-- {name} -->\n```bash\n.+\n```$", readme, re.MULTILINE)
        assert f"readme_command {name}" in script


def test_the_files_that_the_readme_names_exist(readme, repository):
    for path in re.findall(r"\]\(((?!http)[^)#]+)\)", readme):
        assert (repository / path).exists(), path
    for path in re.findall(r"`(config/[\w/.]+\.yaml|docs/\S+?\.md|\.ci/run)`", readme):
        shown = [shown for shown, _ in BLOCK.findall(readme)]
        assert (repository / path).exists() or path in shown, path


@pytest.fixture(scope="module")
def shown(readme, repository, tmp_path_factory):
    """A run of the methods that the README shows, on the data set that it shows."""
    project = new_project(repository, tmp_path_factory.mktemp("readme") / "project")
    for path, text in BLOCK.findall(readme):
        if not path.startswith("config/model/"):
            project.write(path, text)
    project.write(
        "config/experiment/shown.yaml",
        yaml.safe_dump(
            {
                "defaults": [{"override /dataset": "stripes"}, {"override /model": "small_cnn"}],
                "name": "shown",
                "model": {"training": {"epochs": 2}},
                "attacks": ["uniform_noise"],
                "features": ["entropy"],
                "detectors": ["nearest_neighbours", "threshold", "true_labels"],
                "evaluation": {
                    "replicates": 100,
                    "primary_detector": "nearest_neighbours",
                    "main_feature": "entropy",
                },
            }
        ).join(["# @package _global_\n", ""]),
    )
    project = replace(project, experiment="shown")
    project.run()
    return project


def test_the_methods_of_the_readme_run(shown):
    table = (shown.results / "tables" / "detectors.txt").read_text()
    for name in ("nearest_neighbours", "entropy", "Threshold"):
        assert name in table
    assert "uniform_noise" in (shown.results / "tables" / "attacks.txt").read_text()
    assert "stripes" in (shown.results / "report.html").read_text()
