"""Snakemake reads the rules and plans the jobs."""

import re
import subprocess
import sys

import pytest


def planned(folder, *options):
    """Return how many jobs of each rule a dry run plans."""
    run = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--cores", "2", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    output = run.stdout + run.stderr
    assert run.returncode == 0, output
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, re.M)}


SMALL = ["--config", "attacks=[fgsm]", "features=[kd]", "seeds=[0]"]


@pytest.fixture(scope="module")
def here(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("here")
    return planned(folder, "--snakefile", str(repository / "Snakefile"), *SMALL)


def test_a_dry_run_plans_each_job_once(here):
    once = {"train", "classify", "fit_feature", "fit_detectors", "score", "tables"}
    assert {here[rule] for rule in once} == {1}
    assert here["prepare_data"] == 2
    assert (here["attack"], here["feature"]) == (2, 3)  # the attack and the control; and clean
    assert here["total"] == sum(here.values()) - here["total"]


@pytest.mark.parametrize("config", ["    config: config\n", ""])
def test_the_workflow_is_a_module_of_another(repository, tmp_path, here, config):
    (tmp_path / "Snakefile").write_text(
        f'module advdetect:\n    snakefile: "{repository / "Snakefile"}"\n{config}\n'
        "use rule * from advdetect\n"
    )
    found = planned(tmp_path, *(SMALL if config else []))
    if config:
        assert found == here
    else:  # without a configuration it is the quickstart
        assert found["attack"] == 12


def test_names_in_braces_are_no_wildcards(repository, tmp_path):
    """The papers' tables have some, such as ``ead,kappa={kappa}``."""
    options = ["--config", "experiment=hsu2018_small"]
    assert planned(tmp_path, "--snakefile", str(repository / "Snakefile"), *options)["tables"] == 1
