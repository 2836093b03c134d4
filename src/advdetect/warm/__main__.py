"""Start the server: ``python -P -m advdetect.warm <file descriptor of a listening socket>``.

It ends when its standard input is closed, and so with the process that holds the other end.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
from contextlib import suppress

from advdetect.warm.server import PARENT, Server

LIBRARIES = (
    *("jinja2", "joblib", "jsonschema", "numpy", "pandas", "pyarrow.parquet", "tqdm", "yaml"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("safetensors.numpy", "safetensors.torch", "scipy.stats", "seaborn", "tabulate", "torch"),
    *("sklearn.ensemble", "sklearn.linear_model", "sklearn.model_selection", "sklearn.pipeline"),
    *("sklearn.naive_bayes", "sklearn.preprocessing", "sklearn.svm", "sklearn.datasets"),
)


def main() -> None:
    """Import the libraries of all jobs, then do jobs."""
    for for_jobs_and_parent in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, a closed terminal
        signal.signal(for_jobs_and_parent, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.set_inheritable(False)
    before = set(os.environ)
    for library in LIBRARIES:
        if select.select([PARENT], [], [], 0)[0]:
            return
        with suppress(ImportError):  # the job that needs it says so
            importlib.import_module(library)
    gc.freeze()  # the forks leave these objects alone, so that their memory stays shared
    Server(listener, {name: os.environ[name] for name in set(os.environ) - before}).serve()
    os._exit(0)  # taking everything down that was imported takes a second


if __name__ == "__main__":
    main()
