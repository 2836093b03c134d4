"""A store of empty files that were made from each other as the steps make them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from advdetect import provenance
from advdetect.__main__ import main
from advdetect.files.texts import write_json
from advdetect.io import write_table, write_tensors


def put(
    pattern: str, step: str, inputs: Mapping[str, object], /, *beside: str, **keyed: object
) -> Path:
    """Write an empty file, whose key stands for ``{key}`` in its path; return the path.

    Args:
        pattern: The path.
        step: What made it.
        inputs: Paths by role.
        beside: Names of further files in its folder, which are made with it.
        keyed: What else its key is made of.
    """
    facts = provenance.describe(step, {}, "", inputs=inputs, outputs=[], keyed=keyed)
    path = Path(pattern.format(key=facts["key"]))
    for file in (path, *(path.with_name(other) for other in beside)):
        if file.suffix == ".json":
            write_json(file, {})
        elif file.suffix == ".parquet":
            write_table(file, pd.DataFrame({"index": []}), facts)
        else:
            write_tensors(file, {"index": torch.zeros(0)}, facts)
    return path


@dataclass(frozen=True)
class Files:
    """The files of one model.

    Attributes:
        data: The two splits.
        model: The model, its history beside it.
        clean: What it gets right.
        attacks: By name.
        features: Of the clean images and of each attack's, by name.
    """

    data: Mapping[str, Path]
    model: Path
    clean: Path
    attacks: Mapping[str, Path]
    features: Mapping[str, Path]

    @property
    def folder(self) -> str:
        """What is made with the model lies in it."""
        return str(self.model.parent)

    def scores(self, attacks: Sequence[str]) -> tuple[Path, Path]:
        """Detect some attacks; return the fitted detectors, which have a folder, and the scores."""
        inputs = {
            "features": [self.features[name] for name in ("clean", *attacks)],
            "attacks": [self.attacks[name] for name in attacks],
        }
        keyed = {"name": "kd", "seed": 0}
        folder, beside = (
            f"{self.folder}/detectors/kd.{{key}}",
            ("split.parquet", "thresholds.parquet"),
        )
        detectors = put(f"{folder}/fitted.parquet", "fit-detectors", inputs, *beside, **keyed)
        split = detectors.with_name("split.parquet")
        inputs = {"detectors": detectors, "split": split, **inputs}
        return detectors, put(f"{self.folder}/scores/kd.{{key}}.parquet", "score", inputs, **keyed)


def fill(store: Path, names: Sequence[str] = ("fgsm", "ossa")) -> Files:
    """Write what there is of one model and some attacks."""
    train = put(f"{store}/digits.{{key}}/train.safetensors", "prepare-data", {}, split="train")
    folder = train.parent
    test = put(f"{folder}/test.{{key}}.safetensors", "prepare-data", {}, split="test")
    where = f"{folder}/small_cnn-seed0.{{key}}/model.safetensors"
    model = put(where, "train", {"train": train}, "model.json", seed=0)
    inputs = {"model": model, "test": test}
    clean = put(f"{model.parent}/clean.{{key}}.safetensors", "classify", inputs)
    inputs["clean"] = clean
    attacks = {
        name: put(
            f"{model.parent}/attacks/{name}.{{key}}.safetensors",
            "attack",
            inputs,
            name=name,
            seed=0,
        )
        for name in names
    }
    features = {}
    for name, source in {"clean": clean, **attacks}.items():
        of = {} if name == "clean" else {"attack": source}
        features[name] = put(
            f"{model.parent}/features/{source.stem}/kd.{{key}}.parquet",
            "feature",
            {**inputs, **of},
            name="kd",
            seed=0,
        )
    return Files({"train": train, "test": test}, model, clean, attacks, features)


def write_manifest(results: Path, experiment: str, files: Sequence[Path]) -> Path:
    """Let the step write the manifest of an experiment."""
    path = results / experiment / "manifest.json"
    assert main(["manifest", "--files", *map(str, files), "--output", str(path)]) == 0
    return path
