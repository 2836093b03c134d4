"""A job that is a fork of a warm process does and ends as one in a process of its own."""

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from advdetect.warm.__main__ import LIBRARIES, OF_KIND, WAITED_FOR, _imported
from advdetect.warm.client import VARIABLE
from local_run import (
    THREAD_VARIABLES,
    LocalRun,
    leave_garbage_until_graph,
    let_jobs_go,
)

JOBS = Path(__file__).with_name("warm_jobs.py")
PARENT = """
import sys
from local_run import LocalRun
LocalRun(1).start_server(1)
import os
print(os.environ["ADVDETECT_WARM"], flush=True)
sys.stdin.read()
"""
NEVER_READY = """
import socket, sys, time
from advdetect.warm.server import Server
importing = iter(lambda: time.sleep(0.02) or "a library", None)
Server(socket.socket(fileno=int(sys.argv[1])), {}).serve(importing)
"""
#: Snakemake where a job of a cluster runs.
SUBMITTED = {"is_main_process": False, "remote_exec": True, "no_hooks": True}

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="for Linux"),
    pytest.mark.integration,  # of processes
]


def local_workflow(**changes: Any) -> SimpleNamespace:
    """Return what a local run needs of Snakemake's workflow."""
    values = {
        "executor_plugin": "local",
        "dryrun": False,
        "is_main_process": True,
        "local_exec": True,
        "remote_exec": False,
        "touch": False,
        **changes,
    }
    return SimpleNamespace(
        scheduler=SimpleNamespace(job_rate_limiter="100 a second"),
        deployment_settings=SimpleNamespace(deployment_method=values.pop("deployment", ())),
        execution_settings=SimpleNamespace(no_hooks=values.pop("no_hooks", False)),
        resource_settings=SimpleNamespace(cores=2),
        dag_settings=SimpleNamespace(
            target_jobs=[SimpleNamespace(rulename=rule) for rule in values.pop("rules", ())]
        ),
        **values,
    )


@pytest.fixture(scope="module")
def cold(repository) -> dict[str, str]:
    """The environment of a job that Snakemake starts on a cluster."""
    path = os.pathsep.join([str(repository / "src"), os.environ.get("PYTHONPATH", "")])
    return {
        **os.environ,
        "PYTHONPATH": path,
        **{f"{name}_NUM_THREADS": "1" for name in THREAD_VARIABLES},
    }


@pytest.fixture(scope="module")
def start_run(cold) -> Callable[[], tuple[LocalRun, dict[str, str]]]:
    """Begin a local run: itself and the environment of its jobs."""

    def start() -> tuple[LocalRun, dict[str, str]]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", cold["PYTHONPATH"])
            patch.setenv(VARIABLE, "")  # so that what is set now is restored
            patch.delenv(VARIABLE)
            run = LocalRun(threads=1)
            run.start(local_workflow())
            return run, {**cold, VARIABLE: os.environ[VARIABLE]}

    return start


@pytest.fixture(scope="module")
def warm(start_run) -> Iterator[dict[str, str]]:
    """The environment of the jobs of a local run."""
    run, variables = start_run()
    yield variables
    run.stop()


@pytest.fixture
def folder(tmp_path) -> Path:
    """The folder that a user calls snakemake in."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    shutil.copy(JOBS, folder / "user_data.py")
    return folder


def command(what: str, **parameters: Any) -> list[str]:
    subset = {"count": None, "subset_seed": 0}
    spec = json.dumps({"_target_": f"user_data.{what}", **subset, **parameters})
    outputs = ["--split", "train", "--output", "train", "--timing", "timing.json"]
    return [sys.executable, "-m", "advdetect", "prepare-data", "--spec", spec, *outputs]


def run(what: str, folder: Path, variables: Mapping[str, str], **options: Any):
    """Do a job to its end."""
    parameters = options.pop("parameters", {})
    return subprocess.run(
        command(what, **parameters),
        **{"cwd": folder, "env": variables, "capture_output": True, "text": True, **options},
    )


def begin(folder: Path, variables: Mapping[str, str], what: str = "wait", **options: Any):
    """Begin a job that waits; return its process when its fork waits, and the fork's number."""
    started = subprocess.Popen(
        command(what), cwd=folder, env=variables, stderr=subprocess.PIPE, text=True, **options
    )
    until((folder / "process").exists)
    return started, int((folder / "process").read_text().split()[0])


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def ended(process: int) -> Callable[[], bool]:
    """Return a function that tells whether a process has ended."""

    def look() -> bool:
        try:
            return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    return look


def test_a_fork_has_what_a_process_of_its_own_has(folder, cold, warm):
    found = {}
    # As under nohup, and with an input: neither is the server's.
    options = {
        "input": "read me",
        "umask": 0o027,
        "preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        "process_group": os.getpgrp(),
    }
    for kind, variables in (("cold", cold), ("warm", warm), ("again", warm)):
        done = run("show", folder, {**variables, "USERS_OWN": "é"}, **options)
        assert done.returncode == 7, done.stderr
        found[kind] = json.loads(done.stdout)
    assert [values["warm"] for values in found.values()] == [False, True, True]
    own, shown = (found[kind]["shown"] for kind in ("cold", "warm"))
    assert shown == own
    assert shown["environment"]["USERS_OWN"] == "é"
    assert shown["umask"] == 0o027
    assert shown["input"] == "read me"
    for numbers in zip(*(values["drawn"] for values in found.values()), strict=True):
        assert len(set(numbers)) == 3  # no two processes draw the same


def test_a_fork_joins_the_process_group_of_its_job(folder, warm):
    """What ends a group, such as `timeout`, ends the fork."""
    client, fork = begin(folder, warm, process_group=0)
    assert os.getpgid(fork) == client.pid
    os.killpg(client.pid, signal.SIGKILL)
    client.wait()
    until(ended(fork), 5)


def test_changed_source_is_used_at_once(folder, warm):
    assert run("stop", folder, warm).stderr == "why\n"
    module = folder / "user_data.py"
    module.write_text(module.read_text().replace('"why"', '"why not"'))
    done = run("stop", folder, warm)
    assert (done.returncode, done.stderr) == (1, "why not\n")


def test_an_error_is_shown_and_measured(folder, cold, warm):
    said = "advdetect prepare-data: error: The data set user_data.fail failed with ValueError: "
    done = run("fail", folder, warm)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{said}what went wrong (")
    for variables in (cold, warm):
        done = run("fail", folder, variables | {"ADVDETECT_TRACEBACK": "1"})
        assert done.returncode == 1
        assert done.stderr.startswith("Traceback (most recent call last):\n")
        assert "\nValueError: what went wrong\n" in done.stderr
        assert "advdetect/warm" not in done.stderr
        assert not json.loads((folder / "timing.json").read_text())["succeeded"]
    refused = [run("nothing", folder, variables) for variables in (cold, warm)]
    assert refused[0].stderr == refused[1].stderr
    assert {done.returncode for done in refused} == {1}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_death_by_a_signal_is_said_in_one_line(folder, warm, number):
    done = run("die", folder, warm, parameters={"number": int(number)})
    assert done.returncode == 128 + number
    assert done.stderr.startswith(f"advdetect prepare-data: error: ended by signal {number:d}, ")
    assert done.stderr.count("\n") == 1
    assert ("memory" in done.stderr) == (number == signal.SIGKILL)
    assert not (folder / "timing.json").exists()


def test_a_job_that_was_killed_does_not_begin_again_where_nobody_reads_what_it_says(folder, warm):
    """Ctrl-C ends the reader of its output, too."""
    read, write = os.pipe()
    os.close(read)
    parameters = {"number": int(signal.SIGKILL)}
    done = subprocess.run(command("die", **parameters), cwd=folder, env=warm, stderr=write)
    os.close(write)
    assert done.returncode == 128 + signal.SIGKILL


def test_a_killed_job_takes_its_fork_with_it(folder, warm):
    client, fork = begin(folder, warm)
    client.kill()
    client.wait()
    until(ended(fork), 5)
    assert run("show", folder, warm, input="").returncode == 7


def test_a_terminated_job_ends_as_it_does_in_a_process_of_its_own(folder, warm):
    client, fork = begin(folder, warm)
    client.terminate()
    assert client.wait(5) == 128 + signal.SIGTERM
    assert ended(fork)()


@pytest.mark.parametrize("whole_group", [False, True])
def test_an_interrupted_job_cleans_up_once(folder, warm, whole_group):
    client, fork = begin(folder, warm, process_group=0)
    (os.killpg if whole_group else os.kill)(client.pid, signal.SIGINT)
    _, said = client.communicate(timeout=5)
    assert client.returncode == 128 + signal.SIGINT
    assert (folder / "interrupted").read_text() == "once"
    assert "KeyboardInterrupt\n" in said
    assert ended(fork)()


def test_a_signal_that_comes_when_the_job_has_ended_changes_nothing():
    """The server has closed the connection by then; the job must not begin again."""
    code = """if True:
        import os, signal
        from advdetect.warm import client
        class Closed:
            def recv(self, size):
                os.kill(os.getpid(), signal.SIGINT)
                return bytes([client.EXITED, 7])
            def send(self, data):
                raise BrokenPipeError
        client._stand_for(Closed())
    """
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 7


def test_a_job_that_a_fork_would_do_otherwise_is_done_in_its_own_process(folder, warm):
    def is_warm(**variables: str) -> bool:
        done = run("say_which", folder, {**warm, **variables})
        assert done.returncode == 7, done.stderr
        return json.loads(done.stdout)

    assert is_warm()
    assert not is_warm(OMP_NUM_THREADS="2")
    (folder / "tabulate.py").write_text("")  # hides a library, as it would in any process
    assert not is_warm()


def test_a_server_has_one_thread(folder, warm):
    client, _ = begin(folder, warm)
    server = int((folder / "process").read_text().split()[1])
    threads = [path.read_text() for path in Path(f"/proc/{server}/task").glob("*/comm")]
    assert len([name for name in threads if not name.startswith("jemalloc")]) == 1
    client.kill()
    client.communicate()


@pytest.mark.long
def test_a_killed_server_fails_no_job(folder, start_run):
    run_, variables = start_run()
    client, fork = begin(folder, variables, "wait_once")
    server = int((folder / "process").read_text().split()[1])
    os.kill(server, signal.SIGKILL)
    _, said = client.communicate(timeout=60)
    assert client.returncode == 7  # it began again
    assert said.count("\n") == 1
    assert "begins again" in said
    assert ended(fork)()
    done = run("show", folder, variables, input="")
    assert not json.loads(done.stdout)["warm"]
    run_.stop()


@pytest.mark.long
def test_a_terminated_server_finishes_its_jobs(folder, start_run):
    run_, variables = start_run()
    client, _ = begin(folder, variables)
    server = int((folder / "process").read_text().split()[1])
    os.kill(server, signal.SIGTERM)
    assert not json.loads(run("say_which", folder, variables).stdout)
    assert client.poll() is None
    client.send_signal(signal.SIGINT)
    assert client.wait(5) == 128 + signal.SIGINT
    until(ended(server), 5)
    client.communicate()
    run_.stop()


def test_everything_ends_with_a_killed_parent(folder, cold, repository):
    path = os.pathsep.join([str(repository / "workflow/lib"), cold["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**cold, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    client, fork = begin(folder, {**cold, VARIABLE: parent.stdout.readline().strip()})
    server = int((folder / "process").read_text().split()[1])
    parent.kill()
    parent.communicate()
    assert client.wait(5) == 128 + signal.SIGTERM
    until(ended(fork), 5)
    until(ended(server), 5)
    client.communicate()


def test_a_stopped_run_leaves_no_process(start_run):
    run_, _ = start_run()
    server = run_._server
    run_.stop()  # its libraries are not imported yet
    assert server.returncode is not None


def test_a_job_does_not_wait_until_all_libraries_are_imported(folder, cold):
    name = f"advdetect-{os.getpid()}-never-ready"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen()
        server = subprocess.Popen(
            [sys.executable, "-c", NEVER_READY, str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env=cold,
        )
    done = run("show", folder, {**cold, VARIABLE: name}, input="")
    server.terminate()
    server.communicate()
    assert json.loads(done.stdout)["warm"]
    # Within a step of its preparation or between two.
    assert server.returncode in (-signal.SIGTERM, 0)


def test_a_job_waits_for_the_libraries_that_nearly_all_jobs_need():
    assert LIBRARIES[: len(WAITED_FOR)] == WAITED_FOR
    assert next(_imported(LIBRARIES, {})) not in WAITED_FOR  # nothing is served before a step ends
    assert set(WAITED_FOR) <= sys.modules.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"is_main_process": False},
        {"touch": True},
        {"dryrun": True},
        {"executor_plugin": None},
        {"no_hooks": True},
        {"deployment": {"conda"}},
        {**SUBMITTED, "rules": ["attack"]},
        {**SUBMITTED, "rules": ["attack", "feature"], "local_exec": False},
        {**SUBMITTED, "rules": ["attack", "feature"], "deployment": {"conda"}},
    ],
)
def test_only_local_runs_with_jobs_in_this_environment_are_warm(changes, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    run = LocalRun(threads=1)
    run.start(local_workflow(**changes))
    run.stop()
    assert VARIABLE not in os.environ


@pytest.mark.parametrize(
    ("rules", "kinds"),
    [
        (["attack", "feature", "feature"], {"models"}),
        (["fit_detectors", "score", "metrics_kd"], {"detectors"}),
        (["score", "train"], {"models", "detectors"}),
    ],
)
def test_a_group_of_submitted_jobs_is_warm_for_its_kinds_of_jobs(monkeypatch, rules, kinds):
    monkeypatch.setenv(VARIABLE, "of the process that submitted it")
    run = LocalRun(threads=1)
    run.start(local_workflow(**SUBMITTED, rules=rules))
    assert os.environ[VARIABLE].startswith("advdetect-")
    _, _, _, _, _, *said = run._server.args
    assert set(said) == kinds <= OF_KIND.keys()
    run.stop()
    assert VARIABLE not in os.environ


def test_what_is_not_submitted_is_warm(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    run = LocalRun(threads=1)
    run.start(local_workflow(local_exec=False))
    assert VARIABLE in os.environ
    run.stop()


def test_what_a_kind_of_job_needs_is_what_some_job_needs():
    for libraries in OF_KIND.values():
        assert set(libraries) < set(LIBRARIES)


@pytest.mark.parametrize(
    ("changes", "limit"),
    [({}, None), ({"deployment": {"conda"}}, None), ({"local_exec": False}, "100 a second")],
)
def test_the_limit_of_jobs_is_for_clusters(changes, limit):
    workflow = local_workflow(**changes)
    let_jobs_go(workflow)
    assert workflow.scheduler.job_rate_limiter == limit


def test_garbage_is_looked_for_again_when_there_is_a_graph():
    seen = []
    workflow = SimpleNamespace(_build_dag=lambda: seen.append(gc.isenabled()))
    try:
        leave_garbage_until_graph(workflow)
        workflow._build_dag()
        assert seen == [False]
        assert gc.isenabled()
    finally:
        gc.enable()


def test_a_server_survives_what_is_no_job(folder, warm):
    for text in (b"", b"\0\0\0\0\0\0\0\1x"):
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.connect(f"\0{warm[VARIABLE]}")
            stranger.sendall(text)
    assert json.loads(run("show", folder, warm, input="").stdout)["warm"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_a_server_works_for_its_own_user_only(warm):
    code = (
        "import os; from advdetect.warm.client import hand_over; os.seteuid(65534); hand_over();"
        "print('declined')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=warm, capture_output=True, text=True)
    assert done.stdout == "declined\n"
