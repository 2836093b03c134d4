"""Makes a job halt in the middle of writing one file, so that a test can kill it there.

Python imports this module at its start when its folder is on PYTHONPATH. The source of the package
stays as it is, so fingerprints and results are those of an undisturbed run; what is changed is
where the package moves a finished file into place.
"""

import os
import time
from pathlib import Path

_replace = Path.replace


def _halting_replace(self: Path, target: Path) -> Path:
    if str(target).endswith(os.environ["HALT_AT"]):
        halted = Path(os.environ["HALTED"])
        whole = self.read_bytes()
        self.write_bytes(whole[: len(whole) // 2])
        halted.touch()
        end = time.monotonic() + 600
        while halted.exists() and time.monotonic() < end:
            time.sleep(0.05)
        self.write_bytes(whole)
    return _replace(self, target)


Path.replace = _halting_replace
