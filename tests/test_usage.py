"""What a job measures of itself, against what its parent sees of it."""

import resource
import subprocess
import sys
import time

import pytest

from advdetect.errors import AdvdetectError
from advdetect.files.texts import write_json
from advdetect.usage import Usage, measured, read_usage

JOB = """
import subprocess, sys, time
time.sleep(0.4)
from advdetect.usage import measured
with measured(sys.argv[1], "attack"):
    filled = b"x" * 300_000_000
    del filled
    time.sleep(0.3)
    sum(range(10_000_000))
    subprocess.run([sys.executable, "-c", "sum(range(20_000_000))"], check=True)
"""


@pytest.fixture
def job(tmp_path) -> tuple[Usage, float, float]:
    """What a job says of itself, and what it took: wall-clock and CPU seconds."""
    large = b"x" * 500_000_000  # none of a parent's memory is the job's
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-c", JOB, str(tmp_path / "x.json")], check=True)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert large
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return read_usage(tmp_path / "x.json"), wall, cpu


def test_a_job_measures_what_its_parent_sees(job):
    usage, wall, cpu = job
    assert (usage.stage, usage.succeeded) == ("attack", True)
    assert usage.method_s > 0.3
    assert usage.method_s + 0.4 < usage.wall_s < wall + 0.02  # the clock of processes is coarse
    assert cpu - 0.3 < usage.cpu_s < cpu + 0.02
    assert 300 < usage.peak_memory_mb < 400


def test_a_failed_job_says_so_and_a_killed_one_leaves_nothing(tmp_path):
    path = tmp_path / "new" / "x.json"
    with measured(path, "attack"):
        pass
    assert read_usage(path).succeeded

    def fail() -> None:
        assert not path.exists()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), measured(path, "attack"):
        fail()
    assert not read_usage(path).succeeded


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with measured(None, "attack"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("values", [{}, {"method_s": 1, "wall_s": 2, "cpu_s": None}])
def test_what_is_no_measurement_is_named(tmp_path, values):
    write_json(tmp_path / "x.json", values)
    with pytest.raises(AdvdetectError, match=r"x\.json .* delete it"):
        read_usage(tmp_path / "x.json")
