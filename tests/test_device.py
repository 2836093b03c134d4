"""What is set for all arithmetic, in a process of its own."""

import subprocess
import sys

import pytest

COUNT_FAULTS = """
import resource, torch
from advdetect.device import prepare_torch
prepare_torch("cpu", 1)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def allocate(times):
    for _ in range(times):
        torch.ones(10_000_000)

allocate(20)
before = faults()
allocate(10)
print((faults() - before) * resource.getpagesize())
"""


def printed(program):
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc's malloc")
def test_memory_of_a_freed_tensor_is_taken_for_the_next():
    # Ten tensors of 40 MB, whose pages the system would clear anew: 400 MB, if not in huge pages.
    assert int(printed(COUNT_FAULTS)) < 4_000_000


def test_repeatable_arithmetic_fills_no_new_tensors():
    lines = [
        "import torch",
        "from advdetect.device import prepare_torch",
        "prepare_torch('cpu', 1)",
        "assert torch.are_deterministic_algorithms_enabled()",
        "print(torch.utils.deterministic.fill_uninitialized_memory)",
    ]
    assert printed("\n".join(lines)) == "False"
