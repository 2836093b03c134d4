"""Snakemake without its start-up: each command is a fork of a process that has it imported.

The fork calls what the command ``snakemake`` calls. Nothing of the workflow is imported before, so
each reads the source in its own folder.
"""

import atexit
import gc
import importlib
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

LIBRARIES = (
    *("snakemake.cli", "snakemake.dag", "snakemake.executors.local", "snakemake.scheduling.greedy"),
    *("numpy", "pandas", "hydra.compose", "jsonschema", "yaml", "smart_open", "PIL.Image"),
)


def run_snakemake(
    arguments: Sequence[str], folder: Path, variables: Mapping[str, str], output: Path
) -> int:
    """Run Snakemake in a folder with these environment variables only; return its exit status.

    Args:
        arguments: What follows the name of the command.
        folder: Where it runs.
        variables: The environment.
        output: Where it prints to.
    """
    server = _server()
    assert server.stdin
    assert server.stdout
    request = {
        "arguments": list(arguments),
        "folder": str(folder),
        "variables": dict(variables),
        "output": str(output),
    }
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    return int(server.stdout.readline())


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        text=True,
    )
    atexit.register(server.kill)
    return server


def _serve() -> None:
    for library in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(library)
    sys.modules["snakemake.cli"].get_argument_parser()  # imports the plug-ins
    gc.freeze()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(request: dict) -> None:
    status = 1
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for file, number in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(file, number)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["variables"])
        sys.argv[:] = ["snakemake", *request["arguments"]]
        sys.modules["snakemake.cli"].main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
