"""Start the server: ``python -P -m advdetect.warm <descriptor of a listening socket> [kind ...]``.

The kinds are those of its jobs (`OF_KIND`); without any it imports all libraries. The server ends
when its standard input is closed, and so with the process that holds the other end.
"""

import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from advdetect.warm.server import Server

_ARRAYS = ("numpy", "yaml", "tqdm", "safetensors.numpy")
_TORCH = ("torch", "safetensors.torch")
_TABLES = ("pandas", "pyarrow.parquet")
_SKLEARN = (
    *("scipy.stats", "sklearn.datasets", "sklearn.ensemble", "sklearn.linear_model"),
    *("sklearn.model_selection", "sklearn.pipeline", "sklearn.svm", "sklearn.naive_bayes"),
    *("sklearn.preprocessing", "joblib"),
)
#: What nearly every job needs: its fork would import the same at the same time.
WAITED_FOR = (*_ARRAYS, *_TORCH, *_TABLES, *_SKLEARN)
LIBRARIES = (
    *(*WAITED_FOR, "jinja2", "jsonschema"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"),
    *("seaborn", "tabulate"),
)
#: Where all jobs are of some kinds, only what these need.
OF_KIND = {
    "models": (*_ARRAYS, *_TORCH, *_TABLES),
    "detectors": (*_ARRAYS, *_TABLES, *_SKLEARN),
}
# What they import when they are first used: PyTorch's optimizers and batched gradients import its
# compiler and SymPy, in 1.5 s.
USED_LATER = (
    *("torch._dynamo", "torch.utils.data", "pandas.io.formats.csvs", "pyarrow.pandas_compat"),
    *("PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.PpmImagePlugin"),
    *("sklearn.calibration", "sklearn.cluster", "sklearn.manifold", "sklearn.mixture"),
)
_MADV_COLLAPSE = 25  # of linux/mman.h, since 6.1; older systems refuse it


def main() -> None:
    """Do jobs, and import the libraries of all jobs meanwhile."""
    for for_jobs_and_parent in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C, a closed terminal
        signal.signal(for_jobs_and_parent, signal.SIG_IGN)
    listener = socket.socket(fileno=int(sys.argv[1]))
    listener.set_inheritable(False)
    variables: dict[str, str] = {}
    kinds = sys.argv[2:]
    libraries = [*LIBRARIES, *USED_LATER]
    if kinds:
        libraries = list(dict.fromkeys(name for kind in kinds for name in OF_KIND[kind]))
    Server(listener, variables).serve(_imported(libraries, variables))
    os._exit(0)  # taking everything down that was imported takes a second


def _imported(libraries: Iterable[str], variables: dict[str, str]) -> Iterator[str]:
    """Import a library at each step, those that jobs wait for at the first.

    The environment variables that the libraries of all jobs set are added to the variables.
    """
    before = set(os.environ)
    for library in libraries:
        with suppress(ImportError):  # the job that needs it says so
            importlib.import_module(library)
        if library not in USED_LATER:
            variables.update({name: os.environ[name] for name in set(os.environ) - before})
        if library not in WAITED_FOR:
            yield library
    gc.freeze()  # the forks leave these objects alone, so that their memory stays shared
    _use_huge_pages()


def _use_huge_pages() -> None:
    """Have the system keep what is imported in pages of 2 MB, where it can.

    To begin a fork and to end it takes the system a while for each page: with 100,000 small ones
    as long as a small job takes to compute.
    """
    libc = ctypes.CDLL(None)
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _, _, inode, *name = line.split()
        if access.startswith("rw") and inode == "0" and name in ([], ["[heap]"]):
            start, end = (int(address, 16) for address in addresses.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)


if __name__ == "__main__":
    main()
