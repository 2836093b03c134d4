"""Running a stage as its command line does."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from advdetect.__main__ import main
from advdetect.attacks.noise import noise_streams, noisy_twins
from advdetect.files.attack import FIELDS, AttackWriter
from advdetect.io import read_provenance
from advdetect.models.store import read_model
from advdetect.protocol import BITS

SEED = "4"
MODEL_SPEC = Path(__file__).parents[2] / "config/model/small_cnn.yaml"
_NUMPY = {"I64": np.int64, "F64": np.float64, "F32": np.float32, "BOOL": np.bool_}


def figure_spec(config: Path, kind: str, **parameters: object) -> str:
    """Return the specification of a kind of figure as the workflow gives it."""
    spec = yaml.safe_load((config / "figure" / f"{kind}.yaml").read_text())
    own = {name: parameters[name] for name in parameters.keys() & spec.keys()}
    return json.dumps(spec | own | {"_schema_": {}})


def detection_spec(detectors: list, score: dict | None = None) -> dict:
    """Return the specification of detectors as the workflow gives it, of images in all forms."""
    return {"detectors": detectors, "score": score, "train_fraction": 0.5, "bits": [*BITS]}


def detect(spec: dict, name: str, *, features: list, attacks: list, output: Path) -> None:
    """Fit detectors beside the scores that they give."""
    common = [
        *("--spec", json.dumps(spec), "--name", name, "--seed", SEED),
        *("--features", *features, "--attacks", *attacks),
    ]
    split, fitted = (output.with_suffix(f".{part}.parquet") for part in ("split", "fitted"))
    thresholds = output.with_suffix(".thresholds.parquet")
    written = ["--split", split, "--thresholds", thresholds, "--output", fitted]
    run("fit-detectors", *common, *written)
    run("score", *common, "--split", split, "--detectors", fitted, "--output", output)


def run(stage: str, *arguments: object) -> None:
    """Run a stage, which must succeed."""
    assert main([stage, *map(str, arguments)]) == 0


def model_of(folder: Path) -> list[object]:
    """Return the options for the model in a folder."""
    return ["--model", folder / "model.safetensors", "--model-spec", MODEL_SPEC]


def stored_model(folder: Path) -> nn.Module:
    """Read the model in a folder."""
    spec = yaml.safe_load(MODEL_SPEC.read_text())
    return read_model(folder / "model.safetensors", spec, torch.device("cpu"))


def judged(folder: Path) -> list[object]:
    """Return the options for what is classified, and by what, in a folder."""
    files = {name: folder / f"{name}.safetensors" for name in ("test", "clean")}
    return [*model_of(folder), *(part for n, file in files.items() for part in (f"--{n}", file))]


def train(config: Path, folder: Path, *, epochs: int = 3, seed: str = SEED) -> None:
    """Train a model on the training split of a folder, and classify its test split."""
    training = f"{{epochs: {epochs}, batch_size: 64, learning_rate: 0.004, weight_decay: 0.0005}}"
    run(
        *("train", "--spec", config / "model/small_cnn.yaml", "--set", f"training={training}"),
        *("--seed", seed, "--device", "cpu", "--train", folder / "train.safetensors"),
        *("--output", folder / "model.safetensors", "--history", folder / "history.json"),
    )
    run(
        *("classify", "--spec", "{}", "--device", "cpu", *model_of(folder)),
        *("--test", folder / "test.safetensors", "--output", folder / "clean.safetensors"),
    )


def run_feature(
    chain: Path, spec: object, source: object, output: Path, *arguments: object, name: str = "p"
) -> None:
    """Compute a feature of the model in a folder: of the clean images there, or of an attack's."""
    attack = [] if source == "clean" else ["--attack", source]
    run(
        *("feature", "--spec", spec, "--name", name, "--seed", SEED, "--device", "cpu"),
        *(*judged(chain), *attack, "--output", output, *arguments),
    )


def write_attack(path: Path, facts: Mapping[str, object], **columns: NDArray) -> None:
    """Write the file of an attack on images of 2×2 pixels; what is not given is zero."""
    count = len(columns["index"])
    writer = AttackWriter(path, count, (1, 2, 2), facts)
    for name, field in FIELDS.items():
        empty = np.zeros(field.shape(count, (1, 2, 2)))
        columns[name] = columns.get(name, empty).astype(_NUMPY[field.dtype])
    writer.store(range(count), columns["adversarial"])
    writer.finish_rows(range(count), columns)
    writer.publish()


def read_noisy(attack: Path, test: Path) -> Tensor:
    """Return the noisy twin of every image of an attack."""
    stored, facts = load_file(attack), read_provenance(attack)
    clean = load_file(test)["images"][stored["index"]].float() / 255
    streams = noise_streams(facts["seed"], facts["name"], stored["index"])
    return noisy_twins(clean, stored["noise_scale"], streams)
