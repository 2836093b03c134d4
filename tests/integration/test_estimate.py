"""The estimate of a run, against what Snakemake would run."""

import re
import sys

import pytest
from snakemake_project import Outcome, Project, execute

pytestmark = pytest.mark.integration

LARGER = ["experiment=tiny", "name=larger", "overrides=dataset.test_count=240 seeds=[0,1]"]


def estimate(project: Project, config: list[str], run: tuple[str, ...] = ("experiment=tiny",)):
    command = [sys.executable, "workflow/estimate.py", "--cores", "1", "2", "--from", *run]
    return execute([*command, "--config", *config], project.folder)


def rows(outcome: Outcome) -> dict[str, list[str]]:
    """Return the words of each row of the table by its rule."""
    assert outcome.status == 0, outcome.output
    table = outcome.output.partition("\n\n")[0].splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in table}


def planned(project: Project, config: list[str]) -> dict[str, int]:
    """Return the number of jobs of each rule that a dry run counts."""
    outcome = execute([*project.command(["--dry-run"])[:-1], *config], project.folder)
    assert outcome.status == 0, outcome.output
    counts = re.findall(r"^(\w+) +(\d+)$", outcome.output, re.MULTILINE)
    return {rule: int(count) for rule, count in counts if rule not in ("all", "total")}


def test_the_jobs_are_those_that_snakemake_would_run(first_run):
    project, _ = first_run
    before = project.state()
    outcome = estimate(project, LARGER)
    found = rows(outcome)
    total = found.pop("all")
    expected = planned(project, LARGER)
    assert {rule: int(row[0]) for rule, row in found.items()} == expected
    assert int(total[0]) == sum(expected.values())
    assert {row[1] for row in found.values()} == {"0"}
    assert "unknown" not in outcome.output
    assert "Not in the other run" not in outcome.output
    (measured, jobs) = re.search(r"Measured: (\d+) of the (\d+) jobs", outcome.output).groups()
    assert measured == jobs
    assert re.search(r"^attack .* 2 +test images$", outcome.output, re.MULTILINE)
    assert project.state() == before
    assert not (project.folder / "results" / "larger").exists()


def test_what_is_done_is_not_counted(finished):
    unchanged = rows(estimate(finished, ["experiment=tiny"]))
    assert unchanged["all"][0] == "0"
    stale = ["experiment=tiny", "overrides=attack.fgsm.epsilon=0.3"]
    found = rows(estimate(finished, stale))
    expected = planned(finished, stale)
    assert expected["attack"] == 1
    assert {rule: int(row[0]) for rule, row in found.items() if row[0] != "0"} == {
        **expected,
        "all": sum(expected.values()),
    }
    assert found["attack"][1] == "2"
    assert found["all"][1] == str(int(unchanged["all"][1]) - sum(expected.values()))


def test_a_rule_that_the_run_does_not_have_is_unknown(first_run):
    """The tiny experiment has no feature that is fitted on images, so nothing is known of that."""
    more = [*LARGER[:2], "overrides=features=[kd,magnet,fisher_input]"]
    outcome = estimate(first_run[0], more)
    assert rows(outcome)["fit_feature"][:4] == ["1", "0", "unknown", "unknown"]
    assert "such job: fit_feature" in outcome.output
    assert ", feature magnet (3 jobs)" in outcome.output.partition("the mean of their rule: ")[2]


@pytest.mark.parametrize(
    ("run", "config", "said"),
    [
        ("experiment=tiny", "experiment=tyni", "tyni"),
        ("experiment=tiny name=new", "experiment=tiny", "results/new has no timings: run that"),
        ("experiment=tiny", "experiment", "name=value pairs"),
        ("experiment=tiny", "attacks=[fgsn]", "Unknown attack: fgsn. config/attack/ has: "),
    ],
)
def test_an_error_is_one_line(first_run, run, config, said):
    outcome = estimate(first_run[0], [config], tuple(run.split()))
    assert outcome.status == 1
    assert outcome.output.startswith("estimate: error: ")
    assert outcome.output.count("\n") == 1
    assert said in outcome.output
