"""Makes a job halt in the middle of writing one file, so that a test can kill it there.

Python imports this module at its start when its folder is on PYTHONPATH, and the jobs, which are
forks of a warm process, inherit what it changes. The source of the package stays as it is, so
fingerprints and results are those of an undisturbed run; what is changed is where the package moves
a finished file into place, and where it makes sure that rows of an attack are on the disk.
"""

import os
import re
import time
from collections import Counter
from pathlib import Path

_replace, _fsync = Path.replace, os.fsync
_pieces: Counter[str] = Counter()
_KEY = re.compile(r"\.[0-9a-f]{12}(?=[./]|$)")


def _halt() -> None:
    halted = Path(os.environ["HALTED"])
    process = halted.with_name("halting")
    process.write_text(str(os.getpid()))
    _replace(process, halted)
    end = time.monotonic() + 600
    while halted.exists() and time.monotonic() < end:
        time.sleep(0.05)


def _halting_replace(self: Path, target: Path) -> Path:
    if _KEY.sub("", str(target)).endswith(os.environ["HALT_AT"]):
        whole = self.read_bytes()
        self.write_bytes(whole[: len(whole) // 2])
        _halt()
        self.write_bytes(whole)
    return _replace(self, target)


def _halting_fsync(file: int) -> None:
    """Halt at a piece of an attack's rows: written, but not marked as done."""
    name, _, number = os.environ["HALT_AT"].partition("#")
    folder, _, attack = name.rpartition("/")
    path = _KEY.sub("", os.readlink(f"/proc/self/fd/{file}"))
    if number and path.endswith(f"{folder}/.{attack}.safetensors.partial"):
        _pieces[path] += 1
        if _pieces[path] == int(number):
            _halt()
    _fsync(file)


Path.replace, os.fsync = _halting_replace, _halting_fsync
