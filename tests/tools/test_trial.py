"""What methods take of an image, tried before anything has run."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from advdetect.attacks.deepfool import deepfool
from advdetect.attacks.passes import counted_passes
from advdetect.randomness import SampleGenerator
from extent import Extent
from learning import try_learning
from pipeline import Pipeline
from preview import preview
from trial import FEW, Trial, _images, model_of, timed, try_methods

CPU = torch.device("cpu")
CONFIG = {
    "attacks": ["fgsm", "deepfool", "best_of"],
    "features": ["fisher_input", "max_probability", "kd"],
    "defenses": [],
    "overrides": ["dataset.test_count=50", "evaluation.main_feature=kd", "seeds=[0,1]"],
}


@pytest.fixture
def pipeline(repository, tmp_path, monkeypatch) -> Pipeline:
    monkeypatch.chdir(tmp_path)
    return Pipeline(repository, CONFIG)


def test_methods_take_what_the_model_sees(pipeline, monkeypatch):
    monkeypatch.setattr("trial.MORE", FEW)  # however fast the machine, so many images
    trials, left = try_methods(pipeline, 60, CPU)
    found = {trial.name: trial for trial in trials}
    assert found.keys() == {"fgsm", "deepfool", "max_probability", "fisher_input"}
    assert left == ["attack best_of", "feature kd"]
    # Ten classes: a pass back for each but one; of two images the first says how many there are.
    assert found["fisher_input"].passes == (1.5, 9)
    assert found["max_probability"].passes == (1, 0)
    # Two seeds of 50; of a feature clean images, the control's two kinds, each attack's four.
    wanted = {name: trial.images for name, trial in found.items()}
    assert wanted == {"fgsm": 100, "deepfool": 100, "max_probability": 1500, "fisher_input": 1500}
    assert all(trial.is_whole and trial.seconds >= 0 for trial in trials)
    run, extent = pipeline.experiment.runs[0], Extent(pipeline)
    model, images = model_of(pipeline, extent, run, CPU), _images(pipeline, extent, run, FEW)
    labels = model(images).argmax(dim=1)
    with counted_passes(model) as passes:
        deepfool(model, images, labels, generator=SampleGenerator(0, range(FEW)))
    assert passes.backward > 0
    assert found["deepfool"].passes == (passes.forward / FEW, passes.backward / FEW)


def learned(repository: Path, *overrides: str) -> tuple[dict[str, Trial], list[str]]:
    options = [*CONFIG["overrides"], "dataset.train_count=300", *overrides]
    trials, left = try_learning(Pipeline(repository, CONFIG | {"overrides": options}), 60, CPU)
    return {f"{trial.stage} {trial.name}": trial for trial in trials}, left


def test_trainings_and_fits_count_images_once_for_each_epoch(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = "[{kind:denoising,structure:[8],epochs:5},{kind:denoising,structure:[8]}]"
    features = "features=[max_probability,kd,magnet]", "feature.magnet.epochs=7"
    options = [*features, f"feature.magnet.autoencoders={parts}"]
    found, left = learned(repository, "model.training.epochs=3", *options)
    assert left == []
    # Of two seeds; an image goes forward and back once in an epoch, and once for a fit.
    training, kd, magnet = (found[name] for name in ("train small_cnn", "fit kd", "fit magnet"))
    assert (training.passes, training.images, training.at_a_time) == ((1, 1), 2 * 3 * 300, 64)
    assert (kd.passes, kd.images, kd.at_a_time) == ((1, 0), 2 * 300, None)
    # Two auto-encoders, which are other networks.
    assert (magnet.passes, magnet.images) == ((0, 0), 2 * 300 * (5 + 7))
    assert all(trial.is_whole and trial.seconds > 0 and trial.memory > 0 for trial in (kd, magnet))


def test_what_learns_from_other_models_is_not_tried(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, left = learned(repository, "training=distillation", "training.teacher=fully_connected")
    assert found.keys() == {"train fully_connected", "fit kd"}
    assert left == ["train small_cnn"]


def test_published_weights_are_those_of_their_name(repository, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = {"model": "torchvision", "model.arguments.name": "squeezenet1_1"}
    overrides = [*CONFIG["overrides"], *(f"{key}={value}" for key, value in model.items())]
    pipeline = Pipeline(repository, CONFIG | {"overrides": overrides})
    run, extent = pipeline.experiment.runs[0], Extent(pipeline)
    drawn = model_of(pipeline, extent, run, CPU)
    torch.save({name: value + 1 for name, value in drawn.state_dict().items()}, "published.pt")
    monkeypatch.setattr("trial.named_weights", lambda *_: Path("published.pt"))
    named = replace(run, model={**run.model, "weights": "pretrained"})
    loaded = model_of(pipeline, extent, named, CPU).state_dict()
    for name, value in drawn.state_dict().items():
        assert torch.equal(loaded[name], value + 1)


def test_what_takes_longer_is_cut_off():
    model, images = nn.Flatten(), torch.zeros(FEW, 1, 2, 2)

    def endless() -> None:
        while True:
            model(images)
            time.sleep(0.01)

    passes, seconds, is_whole = timed(endless, model, 0.1)
    assert not is_whole
    assert passes.forward >= FEW
    assert 0 <= seconds < 30


def test_the_table_adds_up():
    trials = [
        Trial("", "attack", "fgsm", (1.0, 1.0), 0.5, 1e9, 120, True),
        Trial("", "feature", "slow", (1.0, 999.0), 60.0, 4e9, 10, False),
    ]
    lines = [" ".join(line.split()) for line in preview(trials, ["feature kd"], 2, [2]).split("\n")]
    assert lines[2] == "attack fgsm 1 1 0.5 s 1.0 GB 2 120 1.0 min"
    assert lines[3] == "feature slow > 1 > 999 > 1.0 min 4.0 GB too large 10 > 10.0 min"
    assert "All jobs of attacks: 1.0 min of core time." in lines
    assert "These on 2 cores: > 5.5 min at best." in lines
    assert lines[-1].endswith("images: feature kd.")
