"""Memory of one contender: growth of the peak resident set of a fresh process."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from torch import Tensor, nn

from contender import Contender


def memory_per_image(contender: Contender, model: nn.Module, images: Tensor) -> float:
    """Return the MB that a chunk of images takes beyond one image, per image.

    Two fresh processes run the contender once, on one image and on all of the chunk; their peak
    resident sets (VmHWM of Linux) are subtracted, so that libraries, weights and buffers of a
    fixed size drop out. For contenders that work image by image it is what one image adds to a
    process that has loaded everything and run the model forward.

    Args:
        contender: What to run.
        model: The model, before it is adapted.
        images: One chunk.
    """
    one = _peak(contender, model, images[:1])
    if len(images) == 1:
        return one - _peak(None, model, images)
    return (_peak(contender, model, images) - one) / (len(images) - 1)


def _peak(contender: Contender | None, model: nn.Module, images: Tensor) -> float:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    # Plain data: spawned processes import the contender by name.
    process = context.Process(
        target=_run, args=(sender, contender, model, images, torch.get_num_threads())
    )
    process.start()
    try:
        return float(receiver.recv())
    finally:
        process.join()


def _run(
    sender: Connection, contender: Contender | None, model: nn.Module, images: Tensor, threads: int
) -> None:
    torch.set_num_threads(threads)
    with torch.no_grad():
        model(images[:1])
    if contender is not None:
        contender.compute(contender.adapt(model), images)
    # Not getrusage: its peak includes that of the process which started this one.
    status = Path("/proc/self/status").read_text()
    sender.send(int(status.split("VmHWM:")[1].split()[0]) / 1024)
