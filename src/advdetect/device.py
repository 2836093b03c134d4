"""Choosing the device and making the arithmetic repeatable."""

import ctypes
import os
import sys

import torch

from advdetect.errors import AdvdetectError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


def prepare_torch(device: str, threads: int) -> torch.device:
    """Fix the number of threads, choose deterministic algorithms and return the device.

    An operation without a deterministic form (some have none on CUDA) warns when it runs.

    Args:
        device: ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``.
        threads: Number of CPU threads; results are the same to the bit for the same number.

    Raises:
        AdvdetectError: CUDA is asked for and there is none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism needs on CUDA
    torch.set_num_threads(threads)
    _keep_freed_memory()
    # Not use_deterministic_algorithms, which would import the compiler: 0.9 s a job. A warning, as
    # a user's model may need an operation that has no deterministic form on CUDA.
    torch.set_deterministic_debug_mode("warn")
    # It would fill all new tensors, so that an operation that reads them before they are written is
    # seen: a tenth of the time of Fisher features of photos (docs/decisions.md).
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise AdvdetectError("device=cuda, but PyTorch finds no CUDA device: use auto or cpu.")
    if device == "cpu" or not available:
        return torch.device("cpu")
    # TF32 rounds to 10 bits, which the Fisher features do not survive.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda")


def _keep_freed_memory() -> None:
    """Have the C library keep the memory of freed tensors for the next ones, where it is glibc.

    It would give the large ones back, and the system clears each page when it is asked for again:
    a third of the time of a forward pass of photos (docs/decisions.md).
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
