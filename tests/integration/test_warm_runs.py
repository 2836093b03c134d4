"""Runs whose jobs are forks of one process: the same results, and nothing is left of them."""

import os
import signal
from pathlib import Path

import pytest
from snakemake_project import Project, halted_run, processes, unlock, wait_for

pytestmark = pytest.mark.integration

NAME = "attacks/otcm.safetensors"
SERVER = " -m advdetect.warm "


@pytest.fixture(scope="module")
def attack(first_run) -> str:
    return first_run[0].target("attacks/otcm")


@pytest.fixture(scope="module")
def wanted(first_run) -> str:
    """What follows from the attack."""
    return first_run[0].target("features/otcm/max_probability")


@pytest.fixture
def project(finished) -> Project:
    """The finished run without an attack and one of its features, of which runs are interrupted."""
    for name in ("attacks/otcm", "features/otcm/max_probability"):
        finished.file(name).unlink()
    return finished


@pytest.mark.long
def test_cold_jobs_write_the_same_bytes(source, first_run, tmp_path):
    """Without Snakemake's hooks there is no warm process."""
    project = source.copy(tmp_path / "project")
    project.run("--no-hooks")
    assert project.contents() == first_run[0].contents()
    assert project.plan() == first_run[0].plan() == set()


def test_a_finished_run_was_warm_and_measured_itself(first_run):
    texts = [path.read_text() for path in first_run[0].logs.rglob("*.log")]
    assert not any("begins again" in text for text in texts)
    report = (first_run[0].results / "report.html").read_text()
    for heading in ("Seconds", "Method seconds", "Cpu seconds", "Peak mb"):
        assert f">{heading}</th>" in report


def one(session: int, command: str) -> int:
    """Return the first process of a session with a text in its command line: no fork of it."""
    return min(number for number, line in processes(session).items() if command in line)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, marks=pytest.mark.long),
    ],
)
def test_nothing_is_left_of_a_run_that_was_ended(project, number, attack, wanted):
    """Ctrl-C goes to all of it; SIGTERM and SIGKILL to Snakemake, the former waits for the jobs."""
    with halted_run(project, NAME, [wanted]) as run:
        (os.killpg if number == signal.SIGINT else os.kill)(run.pid, number)
        if number == signal.SIGTERM:
            (project.folder / "halted").unlink()
        wait_for(lambda: run.poll() is not None)
        wait_for(lambda: not processes(run.pid), 10)
    assert run.returncode != 0
    assert (project.folder / attack).exists() == (number == signal.SIGTERM)
    if number == signal.SIGKILL:
        unlock(project)
    project.run(wanted)
    assert (project.folder / wanted).exists()


def test_a_killed_job_fails_the_run_and_its_log_says_so(project, attack, wanted):
    with halted_run(project, NAME, [wanted]) as run:
        fork = int((project.folder / "halted").read_text())
        assert fork in processes(run.pid)
        os.kill(fork, signal.SIGKILL)
        wait_for(lambda: run.poll() is not None)
        wait_for(lambda: not processes(run.pid), 10)
    assert run.returncode == 1
    log = project.logs / Path(attack).relative_to("results/store").with_suffix(".log")
    assert "error: ended by signal 9, Killed" in log.read_text()


@pytest.mark.long
def test_a_killed_server_fails_no_job(project, first_run, attack, wanted):
    halted = project.folder / "halted"
    with halted_run(project, NAME, [wanted]) as run:
        halted.unlink()
        os.kill(one(run.pid, SERVER), signal.SIGSTOP)  # so that it reports no end of a job
        os.kill(one(run.pid, SERVER), signal.SIGKILL)
        wait_for(lambda: halted.exists() or run.poll() is not None)
        halted.unlink(missing_ok=True)
        wait_for(lambda: run.poll() is not None)
    assert run.returncode == 0
    made = project.contents()
    assert wanted.removeprefix("results/") in made
    assert made == {name: first_run[0].contents()[name] for name in made}
    assert not list(project.store.rglob(".*"))
