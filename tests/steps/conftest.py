import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from step_runs import SEED, judged, run, train

from advdetect.data.split import ImageSplit
from advdetect.data.store import write_split


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Undo what a step sets for its own process."""
    yield
    torch.set_deterministic_debug_mode("default")


@pytest.fixture(scope="session")
def config(repository) -> Path:
    return repository / "config"


@pytest.fixture(scope="session")
def chain(tmp_path_factory, config) -> Path:
    """A folder with a data set, a model and an attack, each made by its stage."""
    folder = tmp_path_factory.mktemp("chain")
    for split in ("train", "test"):
        run(
            *("prepare-data", "--spec", config / "dataset/digits.yaml", "--split", split),
            *("--set", "train_count=300", "--set", "test_count=100"),
            *("--output", folder / f"{split}.safetensors"),
        )
    train(config, folder)
    run(
        *("attack", "--spec", config / "attack/otcm.yaml", "--set", "epsilon=2.5"),
        *("--name", "otcm", "--seed", SEED, "--device", "cpu", "--code", "c0de"),
        *(*judged(folder), "--output", folder / "otcm.safetensors"),
    )
    torch.set_deterministic_debug_mode("default")
    return folder


@pytest.fixture(scope="session")
def other(chain, config, tmp_path_factory) -> Path:
    """A folder with the same data and a second model: less training, so it is wrong elsewhere."""
    folder = tmp_path_factory.mktemp("other")
    for split in ("train", "test"):
        shutil.copy(chain / f"{split}.safetensors", folder)
    train(config, folder, epochs=2)
    torch.set_deterministic_debug_mode("default")
    return folder


@pytest.fixture
def attack(chain, tmp_path) -> Callable[..., Path]:
    """Attack the chain's images with a target; return the file."""

    def attack(method: str, /, *arguments: str, **parameters: object) -> Path:
        output = tmp_path / "attack.safetensors"
        spec = json.dumps({"_target_": method, **parameters})
        run(
            *("attack", "--spec", spec, "--name", "attack", "--seed", SEED, "--device", "cpu"),
            *(*judged(chain), "--output", output, *arguments),
        )
        return output

    return attack


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory) -> Path:
    """A test split with three classes, of the digits' shape."""
    path = tmp_path_factory.mktemp("three") / "test.safetensors"
    facts = {"step": "prepare-data"}
    images = torch.arange(12 * 64, dtype=torch.uint8).view(12, 1, 8, 8)
    write_split(path, ImageSplit(images, torch.arange(12) % 3, ("a", "b", "c")), facts)
    return path
