"""What the README shows works: its commands, and its methods, copied out of it as they stand."""

import importlib.util
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from printed import BLOCK, run_printed
from snakemake_project import new_project

from advdetect.data import digits
from advdetect.io import read_provenance

pytestmark = pytest.mark.integration

OWN = "snakemake -s ../advdetect/Snakefile "


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text()


def test_every_kind_of_method_is_shown_in_full(readme):
    paths = [path for path, _ in BLOCK.findall(readme)]
    for group in ("feature", "detector", "dataset", "model", "training"):
        shown = [path for path in paths if path.startswith(f"config/{group}/")]
        assert len(shown) == (2 if group == "model" else 1)  # one's own, and one of a package
    modules = {path.removesuffix(".py") for path in paths if path.endswith(".py")}
    targets = re.findall(r"^_target_: (\w+)\.", readme, re.MULTILINE)
    assert modules == set(targets) - {"advdetect"}
    assert len(modules) == 7


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


def test_where_things_are_is_the_tree(readme, repository):
    tree = readme.partition("## Where things are\n```\n")[2].partition("```")[0]
    package = repository / "src" / "advdetect"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    _, _, inside = tree.partition("src/advdetect/")
    inside = inside.partition("\ntests/")[0]
    named = {name for name in re.findall(r"\b([a-z]+)/", inside) if (package / name).is_dir()}
    assert named == folders
    assert set(re.findall(r"^  ([a-z]+)/", inside, re.MULTILINE)) <= folders
    for path in re.findall(r"^[\w/]+[/\w.](?=  )", tree, re.MULTILINE):
        assert (repository / path).exists(), path


@dataclass(frozen=True)
class Study:
    """A folder of the user's own beside a clone, which holds what the README shows.

    Args:
        folder: The folder.
        commands: What the README says to type there.
    """

    folder: Path
    commands: list[str]

    def run(self, choice: str) -> str:
        """Run the command that chooses something, as it is printed; return its report."""
        (command,) = (text for text in self.commands if choice in shlex.split(text))
        run_printed(command, self.folder)
        return (self.folder / "results" / "quickstart" / "report.html").read_text()

    def table(self, name: str) -> str:
        return (self.folder / "results" / "quickstart" / "tables" / f"{name}.txt").read_text()

    def made(self, pattern: str) -> list[Path]:
        return list((self.folder / "results" / "store").glob(pattern))


@pytest.fixture(scope="module")
def study(readme, repository, tmp_path_factory) -> Study:
    base = tmp_path_factory.mktemp("readme")
    clone = new_project(repository, base / "advdetect")
    before = sorted(path for path in clone.folder.rglob("*") if "__pycache__" not in path.parts)
    folder = base / "my_study"
    for path, text in BLOCK.findall(readme):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    assert before == sorted(p for p in clone.folder.rglob("*") if "__pycache__" not in p.parts)
    commands = [line for line in readme.splitlines() if line.startswith(OWN)]
    return Study(folder, commands)


def without_reconstructions(study: Study) -> bool:
    """Whether nothing of MagNet and MID was made, which nobody has asked for."""
    return not any(study.made(f"*/*/*/**/{name}*") for name in ("magnet", "mid"))


@pytest.mark.long
def test_an_attack(study):
    study.run("attacks=[fgsm,uniform_noise]")
    assert "Uniform noise" in study.table("attacks")
    assert "Uniform noise" in study.table("detection")
    assert without_reconstructions(study)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="needs foolbox")
def test_an_attack_of_another_library(study):
    study.run("attacks=[fgsm,foolbox_fmn]")
    assert "FMN (foolbox)" in study.table("least_perturbation")
    assert without_reconstructions(study)


@pytest.mark.long
def test_images_of_another_tool(study):
    images = digits.load(test_fraction=0.4, split_seed=0)["test"].images.numpy()
    np.savez(
        study.folder / "my_images.npz",
        adversarial=np.roll(images, 2, axis=3),
        index=np.arange(len(images)),
    )
    study.run("attacks=[fgsm,elsewhere]")
    assert "From elsewhere" in study.table("detection")


@pytest.mark.long
def test_the_nearest_of_several_attacks(study):
    study.run("attacks=[fgsm,mi_fgsm,nearest_linf]")
    assert "Nearest of two" in study.table("detection")
    assert "Nearest of two" in study.table("least_perturbation")
    (best,) = study.made("*/small_cnn-seed0.*/attacks/nearest_linf.*")
    facts = read_provenance(best)
    assert facts["spec"]["attacks"] == ["fgsm", "mi_fgsm"]
    assert set(facts["won_by"]) == {-1, 0, 1}
    assert without_reconstructions(study)


@pytest.mark.long
def test_a_feature(study):
    study.run("features=[entropy]")
    assert "Entropy" in study.table("detection")
    assert without_reconstructions(study)


@pytest.mark.long
def test_a_detector(study):
    study.run("detectors=[nearest_neighbours,threshold]")
    assert "Nearest neighbours" in study.table("detectors")
    assert without_reconstructions(study)


@pytest.mark.long
@pytest.mark.parametrize(
    ("choice", "folder"),
    [("dataset=stripes", "stripes.*/small_cnn-*"), ("model=my_net", "*/my_net-*")],
)
def test_a_data_set_and_a_model(study, choice, folder):
    report = study.run(choice)
    assert f"name: {choice.partition('=')[2]}" in report
    assert re.findall(r"<h1>(.*?)</h1>", report) == ["quickstart"]  # no title for digits
    assert len(study.made(folder)) == 2  # seeds
    assert without_reconstructions(study)


@pytest.mark.long
def test_a_training(study):
    study.run("training=label_smoothing")
    trained = [
        read_provenance(path)["spec"]["training"] for path in study.made("*/*/model.safetensors")
    ]
    smoothed = [spec["share"] for spec in trained if spec["_target_"].startswith("label_smoothing")]
    assert smoothed == [0.1, 0.1]  # seeds
