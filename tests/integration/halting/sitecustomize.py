"""Makes a job hang in the middle of writing one file, so that a test can kill it there.

Python imports this module at its start when its folder is on PYTHONPATH. The source of the package
stays as it is, so fingerprints and results are those of an undisturbed run.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import advdetect.io
except ImportError:  # Snakemake itself: it puts the package on the path of its jobs
    pass
else:
    _atomic_path = advdetect.io.atomic_path

    @contextmanager
    def _halting_path(path: str | Path) -> Iterator[Path]:
        with _atomic_path(path) as temporary:
            yield temporary
            if str(path).endswith(os.environ["HALT_AT"]):
                with temporary.open("r+b") as file:
                    file.truncate(temporary.stat().st_size // 2)
                Path(os.environ["HALTED"]).touch()
                time.sleep(600)

    advdetect.io.atomic_path = _halting_path
