"""A process that has the libraries of all jobs imported and does each job in a fork of itself.

Nothing of advdetect is imported before the fork, so a job runs the code of its own project.
"""

import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

LIBRARIES = (
    *("jinja2", "joblib", "jsonschema", "numpy", "pandas", "pyarrow.parquet", "tqdm", "yaml"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("safetensors.numpy", "safetensors.torch", "scipy.stats", "seaborn", "tabulate", "torch"),
    *("sklearn.ensemble", "sklearn.linear_model", "sklearn.model_selection", "sklearn.pipeline"),
    *("sklearn.naive_bayes", "sklearn.preprocessing", "sklearn.svm", "sklearn.datasets"),
)

SECONDS_BETWEEN_LOOKS = 5.0


@contextmanager
def warm_python() -> Iterator[dict[str, str]]:
    """Yield the environment variables with which the jobs of a run are done in this way."""
    with tempfile.TemporaryDirectory() as folder:  # in a short path, as sockets must be
        address = Path(folder) / "socket"
        # Isolated: neither this folder nor PYTHONPATH are where its jobs look for modules.
        server = subprocess.Popen([sys.executable, "-I", __file__, str(address)])
        try:
            while not address.exists():
                assert server.poll() is None, "the process of the jobs did not start"
                time.sleep(0.05)
            client = Path(__file__).parent / "warm"
            yield {"PYTHONPATH": str(client), "WARM_PYTHON": str(address)}
        finally:
            server.terminate()
            server.wait()


def serve(address: str) -> None:
    """Do what jobs ask for, each in a process of its own, as long as the tests run."""
    parent = os.getppid()
    for library in LIBRARIES:
        importlib.import_module(library)
    signal.signal(signal.SIGCHLD, _forget_ended_jobs)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{address}.new")
        listener.listen(16)
        listener.settimeout(SECONDS_BETWEEN_LOOKS)
        os.rename(f"{address}.new", address)
        while os.getppid() == parent:  # the tests may have been killed
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listener.close()
                    status = do_job(connection)
                    connection.sendall(bytes([status]))
                    os._exit(0)


def _forget_ended_jobs(number: int, frame: FrameType | None) -> None:
    with suppress(ChildProcessError):  # no job is left
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def do_job(connection: socket.socket) -> int:
    """Do one job as ``python -m advdetect`` does; return its exit status."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    text = b"".join(iter(lambda: connection.recv(2**16), b""))
    job = json.loads(text)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [job["folder"], *filter(None, own)]
    sys.argv[:] = ["advdetect", *job["arguments"]]
    status = 0
    try:
        runpy.run_module("advdetect", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


if __name__ == "__main__":
    serve(sys.argv[1])
