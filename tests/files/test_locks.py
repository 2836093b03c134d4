"""Claims on rows, between processes."""

import subprocess
import sys
import time

import pytest

from advdetect.files.locks import claimed

HOLD = """\
import sys
from pathlib import Path
from advdetect.files.locks import claimed
folder, start, stop = sys.argv[1:]
with claimed(Path(folder), "work", range(int(start), int(stop)), wait=False) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another process that claims rows 5 to 9 until it is told to end."""
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    command = [sys.executable, "-c", HOLD, str(tmp_path), "5", "10"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("work", "rows", "free"),
    [
        ("work", range(5, 10), False),
        ("work", range(9, 12), False),  # pieces of another size
        ("work", range(20), False),
        ("work", range(5), True),
        ("work", range(10, 11), True),
        ("other work", range(5, 10), True),
    ],
)
def test_rows_are_claimed_by_one_and_given_back(tmp_path, other, work, rows, free):
    with claimed(tmp_path, work, rows, wait=False) as mine:
        assert mine == free
    other.kill()
    other.wait()
    with claimed(tmp_path, work, rows, wait=False) as mine:
        assert mine


def test_a_claim_can_be_waited_for(tmp_path, other):
    started = time.monotonic()
    subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {other.pid}"])
    with claimed(tmp_path, "work", range(8, 9), wait=True) as mine:
        assert mine
    assert time.monotonic() - started > 0.25
