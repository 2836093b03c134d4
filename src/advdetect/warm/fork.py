"""The fork that does a job: it becomes what ``python -m advdetect …`` is, and does the same."""

import atexit
import ctypes
import importlib
import os
import runpy
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import NoReturn

from advdetect.warm.request import Request

_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_LIBC = ctypes.CDLL(None)


def do_job(request: Request, server: int, variables: Mapping[str, str]) -> NoReturn:
    """Do a job in this process, which is a fork of the server, and leave with its exit status.

    Args:
        request: The job.
        server: The server's process.
        variables: Environment variables that the imported libraries have set.
    """
    status = 1
    try:
        _become(request, server)
        _forget(request, variables)
        status = _run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _become(request: Request, server: int) -> None:
    """Take on what the system knows of the job's own process: files, folder, group, signals."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # its client then begins again
    if os.getppid() != server:
        os._exit(1)
    for number, file in enumerate(request.files):
        os.dup2(file, number)
        os.close(file)
    os.setpgid(0, request.group)
    os.umask(request.umask)
    os.chdir(request.folder)
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, _interrupt)
    for ignored in request.ignored:
        signal.signal(ignored, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _forget(request: Request, variables: Mapping[str, str]) -> None:
    """Take on what Python knows of the job's own process; forget what this one has had."""
    os.environ.clear()
    os.environ.update({**variables, **request.environment})
    sys.executable = request.executable
    sys.argv[:] = request.arguments
    sys.path[:] = request.path
    for name in [name for name in sys.modules if name.partition(".")[0] == "advdetect"]:
        del sys.modules[name]  # the job imports the source as it is now
    importlib.invalidate_caches()
    tempfile.tempdir = None  # the environment names another
    # Seeded anew, as in every process; `random` does so by itself.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].default_generator.seed()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt once: Ctrl-C comes from the terminal and from the client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run() -> int:
    """Do what ``python -m advdetect`` does, to the end of its process; return its exit status."""
    status = 0
    try:
        runpy.run_module("advdetect", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if end.code is not None and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException as error:
        status = 1
        traceback.print_exception(error.with_traceback(_without_this_module(error)))
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    # What ends a process: threads, then what was to be done at its exit. Taking everything down
    # that was imported takes as long as a small job.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status & 0xFF


def _without_this_module(error: BaseException) -> TracebackType | None:
    return error.__traceback__.tb_next if error.__traceback__ else None
