"""Trying each method on a few images: what it takes of one, before anything has run.

The images are some of the real data, the model the experiment's own: as it was trained, where
it lies in the store, or with the weights that are given, or else as it is drawn before training.
What it says of the images counts as their label, so that attacks have something to change.
"""

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.attacks.passes import Passes, counted_passes
from advdetect.data.reading import with_images
from advdetect.data.split import ImageSplit, Split
from advdetect.inference import to_float
from advdetect.memory import measured_row
from advdetect.models.activations import activations
from advdetect.models.layout import placed, suits_channels_last
from advdetect.models.published import named_weights
from advdetect.models.store import build_model, read_model, resolve_arguments
from advdetect.models.weights import load_weights
from advdetect.protocol import TRAIN
from advdetect.randomness import SampleGenerator
from advdetect.requirements.training import FITTED
from advdetect.requirements.weights import is_name
from advdetect.selection import evenly_spread
from advdetect.steps import options
from advdetect.steps.batches import need_of
from command_words import built_from
from experiment import Run, Spec
from extent import Extent
from methods import BEST_OF, CRAFTED_ON, FILE, WEIGHTS
from pipeline import Pipeline
from trainings import is_trained

#: Images that each method is tried on twice, and then, where there is time, those that count: a
#: first call finds all cold, and two images of a small network take as long as thirty.
FEW, MORE = 2, 32
_OF_MOMENTS = 1000  # images that the mean and deviation of the pixels are taken of
#: Kinds of images that a feature is computed of: of an attack, and of the clean ones and the
#: control together.
_OF_ATTACK, _OF_CLEAN = 4, 3


@dataclass(frozen=True)
class Trial:
    """What a method takes.

    Attributes:
        run: Name of the run.
        stage: ``train``, ``fit``, ``attack`` or ``feature``.
        name: The method's name.
        passes: Of an image, forward and backward.
        seconds: Of an image.
        memory: Bytes of an image, as steps count them.
        images: In the experiment, over all seeds and epochs; an attack of images that the model
            gets right has fewer.
        is_whole: Whether it came to its end; otherwise it takes more.
        at_a_time: Images of a batch; None: as many as there is memory for.
    """

    run: str
    stage: str
    name: str
    passes: tuple[float, float]
    seconds: float
    memory: float
    images: int
    is_whole: bool
    at_a_time: int | None = None


class _Enough(BaseException):
    """The time for a method is over; no method catches this by mistake."""


def try_methods(
    pipeline: Pipeline, seconds: float, device: torch.device
) -> tuple[list[Trial], list[str]]:
    """Try the attacks and features of all runs.

    Args:
        pipeline: The experiment.
        seconds: For each method; what takes longer is cut off there.
        device: Where.

    Returns:
        What they take, and the names of those that cannot be tried: features that are fitted on
        training images first, and what is made of files.

    Raises:
        AdvdetectError: The data set cannot be loaded, or the model not be made.
    """
    extent, trials, left = Extent(pipeline), [], []
    seeds = len(pipeline.settings["seeds"])
    for run in pipeline.experiment.runs:
        model = model_of(pipeline, extent, run, device)
        shown = _images(pipeline, extent, run, MORE).to(device)
        count = seeds * extent.images(pipeline.store.split(run, "test"))
        tried = [("attack", name, spec, count) for name, spec in run.attacks.items()]
        of_features = count * (_OF_CLEAN + _OF_ATTACK * len(run.attacks))
        tried += [("feature", n, spec, of_features) for n, spec in run.computed_features.items()]
        for stage, name, spec, wanted in tried:
            on = model
            if CRAFTED_ON in spec:
                source = pipeline.experiment.source(run, spec[CRAFTED_ON])
                on = model_of(pipeline, extent, source, device)
            if on is None or {FILE, BEST_OF, "_fit_", "_fitted_by_"} & spec.keys():
                left.append(f"{stage} {name}")
                continue
            for some, times in ((shown[:FEW], 1), (shown[:FEW], MORE / FEW), (shown, 1)):
                call = _call(stage, spec, pipeline.settings["activations"], on, some)
                passes, took, is_whole = timed(call, on, seconds)
                if times * took > seconds / 2:  # of the next call
                    break
            row = measured_row(on, shown[:1])
            trials.append(
                Trial(
                    run.name,
                    stage,
                    name,
                    (passes.forward / len(some), passes.backward / len(some)),
                    took / len(some),
                    row.bytes(need_of(spec, row.classes)),
                    wanted,
                    is_whole,
                )
            )
    return trials, list(dict.fromkeys(left))


def some_of(split: Split, count: int) -> ImageSplit:
    """Return at most so many images of a split, spread over all of it, read if they are not."""
    rows = evenly_spread(len(split), count)
    return with_images(split.take(rows), torch.get_num_threads(), Path(tempfile.gettempdir()))


def _images(pipeline: Pipeline, extent: Extent, run: Run, count: int) -> Tensor:
    return to_float(some_of(extent.source(pipeline.store.split(run, "test")), count).images)


def model_of(
    pipeline: Pipeline, extent: Extent, run: Run, device: torch.device
) -> nn.Module | None:
    """Return the model of a run, as a step reads it; None where it has to be fitted first."""
    file = pipeline.store.model(run, pipeline.settings["seeds"][0])
    path = Path(pipeline.results, "store", file.path)
    if path.is_file():
        return read_model(path, built_from(file), device)
    if run.model.get(FITTED):
        return None
    model, arguments = drawn_model(pipeline, extent, run)
    weights = run.model.get(WEIGHTS)
    if weights and not is_trained(run.model):
        if is_name(weights, run.model):
            classes = len(extent.source(pipeline.store.split(run, TRAIN)).class_names)
            root = run.model.get("weights_root")
            weights = named_weights(weights, run.model, arguments, classes, root)
        where = run.model.get("weights_key"), run.model.get("weights_prefix")
        load_weights(model, weights, *where)
    innermost = suits_channels_last(model, _images(pipeline, extent, run, FEW))
    return placed(model, device, channels_last=innermost).requires_grad_(False)


def drawn_model(
    pipeline: Pipeline, extent: Extent, run: Run
) -> tuple[nn.Module, Mapping[str, Any]]:
    """Return the model of a run as it is drawn before any training, and its arguments."""
    train = some_of(extent.source(pipeline.store.split(run, TRAIN)), _OF_MOMENTS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        arguments = resolve_arguments(run.model.get("arguments") or {}, train)
        return build_model(run.model["_target_"], arguments), arguments


def _call(
    stage: str, spec: Spec, layers: Spec, model: nn.Module, images: Tensor
) -> Callable[[], object]:
    """Return what calls a method as its step does."""
    streams = SampleGenerator(0, range(len(images)))
    if stage == "attack":
        attack = options.bind_target(spec, "_target_", positional=3, given=["generator"])
        with torch.no_grad():
            labels = model(images).argmax(dim=1)
        return lambda: attack(model, images.clone(), labels, generator=streams)
    if not spec.get("_activations_"):
        feature = options.bind_target(spec, "_target_", positional=2, given=["generator"])
        return lambda: feature(model, images.clone(), generator=streams)
    given = ["generator", "activations"]
    of_layers = options.bind_target(spec, "_target_", positional=2, given=given)

    def compute() -> object:
        kept = activations(model, images, **layers)
        return of_layers(model, images, generator=streams, activations=kept)

    return compute


def timed(
    call: Callable[[], object], model: nn.Module, seconds: float
) -> tuple[Passes, float, bool]:
    """Return the passes and the seconds of a call, and whether it came to its end."""
    # Of a processor its own time, since others may be at work on it.
    clock = time.monotonic if _device(model).type == "cuda" else time.process_time
    is_whole, started = True, clock()
    with counted_passes(model) as passes:
        try:
            with _limited(seconds):
                call()
        except _Enough:
            is_whole = False
    return passes, clock() - started, is_whole


def _device(model: nn.Module) -> torch.device:
    return next((values.device for values in model.parameters()), torch.device("cpu"))


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise `_Enough` where the block takes longer."""

    def stop(_number: int, _frame: object) -> None:
        raise _Enough

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
