"""What the README shows: its files, and its commands, run as they are printed."""

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from snakemake_project import SNAKEMAKE, environment

#: A file's path and what it holds.
BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+\.(?:py|yaml))\n(.*?)```", re.DOTALL)


def run_printed(command: str, folder: Path, variables: Mapping[str, str] | None = None) -> None:
    """Run a command in a folder, with the environment activated and some variables more."""
    path = os.pathsep.join([str(SNAKEMAKE.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment() | {"PATH": path} | dict(variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout
