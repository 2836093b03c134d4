"""What the jobs of these tests do: data sets of a user, in a module in the folder of the job."""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path


def show() -> None:
    """Print what a process has."""
    import matplotlib
    import numpy as np
    import sklearn.ensemble  # noqa: F401
    import torch
    from threadpoolctl import threadpool_info

    interrupt = signal.getsignal(signal.SIGINT)
    signals = set(range(1, 32)) - {signal.SIGINT, signal.SIGKILL, signal.SIGSTOP}
    umask = os.umask(0)
    shown = {
        "arguments": sys.argv,
        "environment": dict(os.environ),
        "executable": sys.executable,
        "files": len(list(Path("/proc/self/fd").iterdir())) - is_fork(),
        "folder": os.getcwd(),
        "group": os.getpgrp(),
        "handlers": [int(signal.getsignal(number)) for number in sorted(signals)],
        "input": sys.stdin.read(),
        "interrupt": callable(interrupt),
        "main": [sys.modules["__main__"].__spec__.name, sys.modules["__main__"].__file__],
        "masked": list(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "path": sys.path,
        "session": os.getsid(0),
        "umask": umask,
        "backend": matplotlib.get_backend(),
        "cuda": torch.cuda.is_initialized(),
        "pools": sorted((pool["prefix"], pool["num_threads"]) for pool in threadpool_info()),
        "threads": [threading.active_count(), torch.get_num_threads()],
    }
    drawn = [random.random(), np.random.random(), torch.rand(()).item()]  # noqa: NPY002
    print(json.dumps({"shown": shown, "drawn": drawn, "warm": is_fork()}))
    raise SystemExit(7)


def say_which() -> None:
    """Print whether this process is a fork, and import nothing for it."""
    print(json.dumps(is_fork()))
    raise SystemExit(7)


def is_fork() -> bool:
    """Return whether this process is a fork of the server."""
    return "advdetect.warm" in Path(f"/proc/{os.getppid()}/cmdline").read_text()


def fail() -> None:
    """Stop with an error that nobody expects."""
    raise ValueError("what went wrong")


def stop() -> None:
    """Stop with a text."""
    sys.exit("why")


def die(number: int) -> None:
    """Be killed by a signal."""
    os.kill(os.getpid(), number)


def wait() -> None:
    """Say in a file which process this is, sleep, and say how often that was interrupted."""
    Path("process.tmp").write_text(f"{os.getpid()} {os.getppid()}")
    Path("process.tmp").rename(Path("process"))
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        with Path("interrupted").open("a") as file:
            file.write("once")
        time.sleep(0.3)  # a second interrupt would come within this time
        raise


def wait_once() -> None:
    """Sleep as `wait` does, but not where that was done before."""
    if Path("process").exists():
        raise SystemExit(7)
    wait()
