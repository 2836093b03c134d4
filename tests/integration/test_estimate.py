"""The estimate of a run, against what Snakemake would run."""

import re
import sys
from collections import Counter

import pytest
from snakemake_project import Outcome, Project, execute

pytestmark = [pytest.mark.integration, pytest.mark.long]

#: The step that makes what is published, by how the names of its rules begin.
PUBLISHED = {"metrics": "evaluate", "figure": "figure", "table": "reproduce"}
LARGER = ["experiment=tiny", "name=larger", "overrides=dataset.test_count=240 seeds=[0,1]"]


def estimate(project: Project, config: list[str], run: tuple[str, ...] = ("experiment=tiny",)):
    command = [sys.executable, "tools/estimate", "--cores", "1", "2", "--from", *run]
    return execute([*command, "--config", *config], project.folder)


def rows(outcome: Outcome) -> dict[str, list[str]]:
    """Return the words of each row of the table by its step."""
    assert outcome.status == 0, outcome.output
    table = outcome.output.partition("\n\n")[0].splitlines()[2:]
    return {line.split()[0]: line.split()[1:] for line in table}


def planned(project: Project, config: list[str], *arguments: str) -> Counter[str]:
    """Return the number of jobs of each step that a dry run counts."""
    command = project.command(["--dry-run", *arguments])[:-1]
    outcome = execute([*command, *config], project.folder)
    assert outcome.status == 0, outcome.output
    # The first of the two times that it says so.
    table = outcome.output.partition("Job stats:")[2].partition("\n\n")[0]
    counts = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
    found = Counter[str]()
    for rule, count in counts:
        if rule not in ("all", "total"):
            prefix = rule.partition("_")[0]
            found[PUBLISHED.get(prefix) or rule.replace("_", "-")] += int(count)
    return found


def check(found: dict[str, list[str]], project: Project, config: list[str]) -> Counter[str]:
    """Compare the numbers of jobs with those of dry runs; return what is to run."""
    expected, whole = planned(project, config), planned(project, config, "--forceall")
    to_run = {step: int(row[0]) for step, row in found.items()}
    done = {step: int(row[1]) for step, row in found.items()}
    assert to_run == {step: expected[step] for step in whole} | {"all": expected.total()}
    left = whole - expected
    assert done == {step: left[step] for step in whole} | {"all": left.total()}
    return expected


def test_the_jobs_are_those_that_snakemake_would_run(first_run):
    project, _ = first_run
    before = project.state()
    outcome = estimate(project, LARGER)
    found = rows(outcome)
    check(found, project, LARGER)
    # The training images and the first seed's model are those of the run.
    for step, numbers in (("prepare-data", ["1", "1"]), ("train", ["1", "1"])):
        assert found[step][:2] == numbers
    assert found["attack"][1] == "0"
    assert "unknown" not in outcome.output
    assert "Not in the other experiment" not in outcome.output
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
    expected = check(found, finished, stale)
    assert expected["attack"] == 1
    assert found["attack"][1] == "2"
    assert found["all"][1] == str(int(unchanged["all"][1]) - expected.total())


def test_what_another_experiment_has_made_is_done(first_run):
    again = ["experiment=tiny", "name=again"]
    found = rows(estimate(first_run[0], again))
    assert set(check(found, first_run[0], again)) == {
        *("evaluate", "paired", "tables", "figure", "report", "manifest")
    }


def test_the_runs_of_an_experiment_are_estimated_from_one(first_run):
    project = first_run[0]
    two = [*LARGER[:2], "overrides=runs=[{model:small_cnn},{model:lenet5}]"]
    outcome = estimate(project, two)
    expected = check(rows(outcome), project, two)
    assert (expected["train"], expected["attack"]) == (1, 3)
    assert "  name: small_cnn → lenet5 (model of lenet5)\n" in outcome.output


def test_a_step_that_the_run_does_not_have_is_unknown(first_run):
    """The tiny experiment has no defence and trains no auto-encoder."""
    more = [*LARGER[:2], "overrides=features=[kd,magnet,fisher_input] defenses=[magnet]"]
    outcome = estimate(first_run[0], more)
    found = rows(outcome)
    assert found["defend"][:4] == ["1", "0", "unknown", "unknown"]
    assert found["fit-feature"][:4] == ["1", "1", "unknown", "unknown"]
    assert "such job: defend, feature held_out, fit-feature in epochs.\n" in outcome.output
    nearest = outcome.output.partition("the mean of their step: ")[2]
    assert nearest.startswith("feature magnet (4 jobs), ")


@pytest.mark.parametrize(
    ("run", "config", "said"),
    [
        ("experiment=tiny", "experiment=tyni", "tyni"),
        ("experiment=tiny results=new", "experiment=tiny", "new/logs has no timings of that"),
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
