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
from collections.abc import Sequence
from contextlib import suppress

from advdetect.warm.server import PARENT, Server

LIBRARIES = (
    *("jinja2", "joblib", "jsonschema", "numpy", "pandas", "pyarrow.parquet", "tqdm", "yaml"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("safetensors.numpy", "safetensors.torch", "scipy.stats", "seaborn", "tabulate", "torch"),
    *("sklearn.ensemble", "sklearn.linear_model", "sklearn.model_selection", "sklearn.pipeline"),
    *("sklearn.naive_bayes", "sklearn.preprocessing", "sklearn.svm", "sklearn.datasets"),
)
# What they import when they are first used: PyTorch's optimizers and batched gradients import its
# compiler and SymPy, in 1.5 s.
USED_LATER = (
    *("torch._dynamo", "torch.utils.data", "pandas.io.formats.csvs", "pyarrow.pandas_compat"),
    *("PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.PpmImagePlugin"),
    *("sklearn.calibration", "sklearn.cluster", "sklearn.manifold", "sklearn.mixture"),
)


def main() -> None:
    """Import the libraries of all jobs, then do jobs."""
    for for_jobs_and_parent in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, a closed terminal
        signal.signal(for_jobs_and_parent, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.set_inheritable(False)
    before = set(os.environ)
    if not _import(LIBRARIES):
        return
    variables = {name: os.environ[name] for name in set(os.environ) - before}
    if not _import(USED_LATER):
        return
    gc.freeze()  # the forks leave these objects alone, so that their memory stays shared
    Server(listener, variables).serve()
    os._exit(0)  # taking everything down that was imported takes a second


def _import(libraries: Sequence[str]) -> bool:
    """Import libraries; return whether it got to the end before the parent ended."""
    for library in libraries:
        if select.select([PARENT], [], [], 0)[0]:
            return False
        with suppress(ImportError):  # the job that needs it says so
            importlib.import_module(library)
    return True


if __name__ == "__main__":
    main()
