import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from step_runs import SEED, run

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
    test, model = folder / "test.safetensors", folder / "model.safetensors"
    run(
        *("prepare-data", "--spec", config / "dataset/digits.yaml"),
        *("--set", "train_count=300", "--set", "test_count=100"),
        *("--train", folder / "train.safetensors", "--test", test),
    )
    training = "{epochs: 3, batch_size: 64, learning_rate: 0.004, weight_decay: 0.0005}"
    run(
        *("train", "--spec", config / "model/small_cnn.yaml", "--set", f"training={training}"),
        *("--seed", SEED, "--device", "cpu"),
        *("--train", folder / "train.safetensors", "--test", test),
        *("--model", model, "--metrics", folder / "metrics.json"),
    )
    run(
        *("attack", "--spec", config / "attack/otcm.yaml", "--set", "epsilon=2.5"),
        *("--name", "otcm", "--seed", SEED, "--device", "cpu", "--code", "c0de"),
        *("--data", test, "--model", model, "--output", folder / "otcm.safetensors"),
    )
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
            *("--data", chain / "test.safetensors", "--model", chain / "model.safetensors"),
            *("--output", output, *arguments),
        )
        return output

    return attack


@pytest.fixture(scope="session")
def three_classes(tmp_path_factory) -> Path:
    """A test split with three classes, of the digits' shape."""
    path = tmp_path_factory.mktemp("three") / "test.safetensors"
    images = torch.arange(12 * 64, dtype=torch.uint8).view(12, 1, 8, 8)
    write_split(path, ImageSplit(images, torch.arange(12) % 3, ("a", "b", "c")), {})
    return path
