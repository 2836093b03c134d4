import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from advdetect.files.atomic import atomic_path
from advdetect.files.texts import read_json, write_json

WAIT = """
import sys
from advdetect.files.atomic import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half a file")
    print("ready", flush=True)
    sys.stdin.read()
"""


def writer(path):
    """Begin to write a file in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_failure_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"x": 1})

    def fail_in_the_middle():
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_the_middle()
    assert read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_sigkill_in_the_middle_of_writing_leaves_no_file(tmp_path):
    path = tmp_path / "file"
    process = writer(path)
    process.kill()
    process.communicate()
    assert not path.exists()


def test_files_can_be_read_by_others(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"x": 1})
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_two_writers_do_not_interleave(tmp_path):
    path = tmp_path / "file"

    def write(byte):
        for _ in range(50):
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                for _ in range(8):
                    file.write(bytes([byte]) * 4096)
                    file.flush()
            assert len(set(path.read_bytes())) == 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_writer_left_is_removed_and_a_living_one_goes_on(tmp_path):
    path = tmp_path / "file"
    killed, living = writer(path), writer(path)
    killed.kill()
    killed.communicate()
    assert len(list(tmp_path.iterdir())) == 2
    with atomic_path(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2
    living.communicate("")
    assert living.returncode == 0
    assert path.read_text() == "half a file"  # all that it wanted to write
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
