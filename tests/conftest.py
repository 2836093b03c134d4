import gc
import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from advdetect.models.small_cnn import SmallCNN
from advdetect.requirements.training import OPTIONS
from advdetect.training.loop import train
from advdetect.training.standard import Standard

pytest_plugins = ["made_up"]

REPOSITORY = Path(__file__).resolve().parents[1]
# Real data for the tests that need it; none of it belongs in the repository.
DATA = Path(os.environ.get("ADVDETECT_DATA", REPOSITORY.parent / "shared" / "data"))


# How long an example takes is the machine's affair.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest tests first, so that no process is left with them at the end.

    The very first makes the finished experiment; those that wait for it come after those that do
    not. The tests of a file stay together.
    """

    def turn(item: pytest.Item) -> int:
        if item.get_closest_marker("integration") is None:
            return 3
        if item.path.stem == "test_first_run":
            return 0
        return 2 if "first_run" in getattr(item, "fixturenames", ()) else 1

    turns: dict[Path, int] = {}
    for item in items:
        turns[item.path] = min(turn(item), turns.get(item.path, 3))
    items.sort(key=lambda item: turns[item.path])


def pytest_collection_finish() -> None:
    """Leave what was imported to itself: going through it for garbage takes a sixth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # and what is new is mostly none


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _as_from_a_terminal() -> None:
    """Ctrl-C ends what the tests start, also where they run behind an `&`, where it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    if not (DATA / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST in {DATA}: set ADVDETECT_DATA to the folder that holds MNIST/raw")
    return DATA


@pytest.fixture(scope="session")
def fruits_archive() -> Path:
    path = DATA / "fruits360-60classes.tar.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {DATA}: set ADVDETECT_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def photos_archive() -> Path:
    path = DATA / "imagenet-photos.tar.gz"
    if not path.is_file():
        pytest.skip(f"no {path.name} in {DATA}: set ADVDETECT_DATA to the folder that holds it")
    return path


@pytest.fixture(scope="session")
def train_on_digits():
    """Train the small net on a split: a function that returns it and its history."""

    def trained(
        split, *, epochs, seed=0, dropout=0.25, learning_rate=0.004, device="cpu", **options
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = SmallCNN(dropout=dropout).to(device)
        history = train(
            model,
            split.images,
            split.labels,
            objective=options.pop("objective", Standard()),
            epochs=epochs,
            batch_size=64,
            learning_rate=learning_rate,
            weight_decay=0.0005,
            seed=seed,
            **OPTIONS | options,
        )
        return model, history

    return trained
