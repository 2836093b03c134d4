"""A training goes on when it was killed, and is given the models that it needs."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from step_runs import MODEL_SPEC, SEED, run

from advdetect.__main__ import main
from advdetect.data.store import read_split
from advdetect.files.texts import read_json
from advdetect.io import read_provenance
from advdetect.models.published import Published
from advdetect.models.store import build_model
from advdetect.seeding import derive_seed

EPOCHS = 6
TRAINING = f"{{epochs: {EPOCHS}, batch_size: 64, learning_rate: 0.004, weight_decay: 0.0005}}"
#: The process dies of a signal when the third epoch is written.
KILLED = """
import os, signal, sys
from advdetect.__main__ import main
from advdetect.training.unfinished import Unfinished

keep = Unfinished.keep

def killed(self, history, *state):
    keep(self, history, *state)
    if len(history) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

if len(sys.argv) > 1 and sys.argv.pop(1) == "killed":
    Unfinished.keep = killed
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_a_killed_job_is_completed_with_the_same_bits(chain, config, tmp_path):
    def trained(folder, how):
        folder.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-c", KILLED, how, "train"),
            *("--spec", config / "model/small_cnn.yaml", "--set", f"training={TRAINING}"),
            *("--seed", SEED, "--device", "cpu", "--train", chain / "train.safetensors"),
            *("--output", folder / "model.safetensors", "--history", folder / "model.json"),
        ]
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        said = [line for line in done.stderr.splitlines() if ": epoch " in line]
        return done.returncode, [int(line.partition(": epoch ")[2].split()[0]) for line in said]

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert trained(whole, "whole") == (0, [1, 2, 3, 4, 5, 6])
    assert trained(halves, "killed") == (-signal.SIGKILL, [1, 2])
    assert len(list(halves.iterdir())) == 1
    assert trained(halves, "whole") == (0, [4, 5, 6])
    assert sorted(path.name for path in halves.iterdir()) == ["model.json", "model.safetensors"]
    for name in ("model.safetensors", "model.json"):
        assert (halves / name).read_bytes() == (whole / name).read_bytes()
    assert len(read_json(halves / "model.json")["history"]) == EPOCHS


def distilled(chain, config, folder, *more):
    """Run the step for a student of the chain's model."""
    spec = folder / "student.yaml"
    spec.write_text(
        (config / "model/small_cnn.yaml").read_text().partition("training:")[0]
        + """training:
  epochs: 2
  batch_size: 64
  learning_rate: 0.004
  weight_decay: 0.0005
  _target_: advdetect.training.distillation.Distillation
  temperature: 5
  _others_: {teacher: [temperature]}
"""
    )
    return main(
        [
            *("train", "--spec", str(spec), "--seed", SEED, "--device", "cpu"),
            *("--train", str(chain / "train.safetensors"), *map(str, more)),
            *("--output", str(folder / "model.safetensors")),
            *("--history", str(folder / "model.json")),
        ]
    )


def test_a_student_is_trained_from_its_teacher(chain, config, tmp_path):
    teacher = ("--others", chain / "model.safetensors", "--others-spec", MODEL_SPEC)
    assert distilled(chain, config, tmp_path, *teacher) == 0
    facts, of_teacher = (
        read_provenance(folder / "model.safetensors") for folder in (tmp_path, chain)
    )
    assert facts["inputs"]["others"] == of_teacher["key"]
    assert facts["run"] != of_teacher["run"]
    loss = [epoch["loss"] for epoch in read_json(tmp_path / "model.json")["history"]]
    assert len(loss) == 2
    assert loss[1] < loss[0]


SUBSTITUTE = """training:
  epochs: 2
  batch_size: 64
  learning_rate: 0.004
  weight_decay: 0.0005
  _target_: advdetect.training.substitute.Substitute
  seed_images: 30
  rounds: 3
  _others_: {oracle: null}
  _unused_: true
"""


def imitated(chain, config, folder, *more):
    """Run the step for a substitute of the chain's model."""
    spec = folder / "substitute.yaml"
    model = (config / "model/small_cnn.yaml").read_text().partition("training:")[0]
    spec.write_text(model + SUBSTITUTE)
    return main(
        [
            *("train", "--spec", str(spec), "--seed", SEED, "--device", "cpu"),
            *("--train", str(chain / "train.safetensors"), *map(str, more)),
            *("--others", str(chain / "model.safetensors"), "--others-spec", str(MODEL_SPEC)),
            *("--output", str(folder / "model.safetensors")),
            *("--history", str(folder / "model.json")),
        ]
    )


@pytest.fixture(scope="session")
def unused(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("unused") / "unused.safetensors"
    options = ("--set", "train_count=300", "--set", "test_count=100", "--split", "unused")
    run("prepare-data", "--spec", config / "dataset/digits.yaml", *options, "--output", path)
    return path


def test_a_substitute_learns_what_its_oracle_says_of_unused_images(
    chain, config, unused, tmp_path, capsys
):
    assert imitated(chain, config, tmp_path, "--unused", unused) == 0
    facts = read_provenance(tmp_path / "model.safetensors")
    assert facts["inputs"]["unused"] == read_provenance(unused)["key"]
    assert facts["inputs"]["others"] == read_provenance(chain / "model.safetensors")["key"]
    summary = read_json(tmp_path / "model.json")
    assert [epoch["queries"] for epoch in summary["history"]] == [30, 30, 60, 60, 120, 120]
    assert summary["train_count"] == len(read_split(unused)) == 1078 - 300
    assert "epoch 6 of 6" in capsys.readouterr().err


def test_unused_images_belong_to_the_trainings_that_say_so(chain, config, unused, tmp_path, capsys):
    assert imitated(chain, config, tmp_path) == 1
    assert "--unused: give it where the training says _unused_: true" in capsys.readouterr().err
    assert imitated(chain, config, tmp_path, "--unused", chain / "train.safetensors") == 1
    assert "is the train split, not the unused split" in capsys.readouterr().err
    teacher = ("--others", chain / "model.safetensors", "--others-spec", MODEL_SPEC)
    assert distilled(chain, config, tmp_path, *teacher, "--unused", unused) == 1
    assert "--unused: give it where" in capsys.readouterr().err


def test_channels_are_innermost_only_where_the_model_allows_it(chain, tmp_path, capsys):
    assert read_provenance(chain / "model.safetensors")["model"]["channels_last"]
    path = tmp_path / "model.safetensors"
    loop = {"epochs": 1, "batch_size": 64, "learning_rate": 0.01, "weight_decay": 0.0}

    def trained(**more):
        spec = {
            "_target_": "step_methods.FlattenedByView",
            "arguments": {},
            "training": loop | more,
        }
        return main(
            [
                *("train", "--spec", json.dumps(spec), "--seed", SEED, "--device", "cpu"),
                *("--train", str(chain / "train.safetensors"), "--output", str(path)),
                *("--history", str(tmp_path / "model.json")),
            ]
        )

    assert trained(channels_last=True) == 1
    assert "model.training.channels_last: FlattenedByView does not work" in capsys.readouterr().err
    assert not path.exists()
    assert trained() == 0
    assert not read_provenance(path)["model"]["channels_last"]


FINE_TUNING = """training:
  epochs: 1
  batch_size: 64
  learning_rate: 1.0e-9
  weight_decay: 0.0
  _target_: advdetect.training.fine_tuning.FineTuning
  loss: {_target_: advdetect.training.standard.Standard}
  new_layers: [classifier.4]
  frozen: [features]
  _others_: {start: null}
  _weights_: start
"""


def tuned(chain, config, folder, *more):
    """Run the step for the network of the chain that goes on from weights."""
    folder.mkdir(exist_ok=True)
    spec = folder / "tuned.yaml"
    spec.write_text((config / "model/small_cnn.yaml").read_text().partition("training:")[0])
    spec.write_text(spec.read_text() + FINE_TUNING)
    status = main(
        [
            *("train", "--spec", str(spec), "--seed", SEED, "--device", "cpu"),
            *("--train", str(chain / "train.safetensors"), *map(str, more)),
            *("--output", str(folder / "model.safetensors")),
            *("--history", str(folder / "model.json")),
        ]
    )
    return status or load_file(folder / "model.safetensors")


def test_a_training_goes_on_from_a_file_or_from_another_model(chain, config, tmp_path):
    """So slowly that nothing changes to six digits; a new head is drawn from the seed."""
    given = load_file(chain / "model.safetensors")
    path = tmp_path / "mine.pt"
    head = {f"classifier.4.{name}": torch.zeros(3) for name in ("weight", "bias")}
    torch.save({"epoch": 3, "net": {f"module.{n}": v for n, v in (given | head).items()}}, path)
    of_file = tuned(chain, config, tmp_path / "file", "--weights", path)
    other = ("--others", chain / "model.safetensors", "--others-spec", MODEL_SPEC)
    of_model = tuned(chain, config, tmp_path / "model", *other)
    recipe = read_provenance(chain / "model.safetensors")["model"]
    torch.manual_seed(derive_seed(int(SEED), "train"))
    drawn = build_model(recipe["target"], recipe["arguments"]).state_dict()
    for found in (of_file, of_model):
        for name, values in found.items():
            expected = drawn if name.startswith("classifier.4") else given
            torch.testing.assert_close(values, expected[name], rtol=0, atol=1e-6)
            assert torch.equal(values, given[name]) == name.startswith("features")
    facts = [read_provenance(tmp_path / name / "model.safetensors") for name in ("file", "model")]
    assert [bool(fact["spec"]["weights"]) for fact in facts] == [True, False]
    assert facts[0]["key"] != facts[1]["key"]
    assert len(read_json(tmp_path / "file/model.json")["history"]) == 1


def test_weights_that_do_not_fit_name_the_setting(chain, config, tmp_path, capsys):
    path = tmp_path / "mine.safetensors"
    given = load_file(chain / "model.safetensors")
    save_file(given | {"classifier.1.weight": torch.zeros(7, 512)}, path)
    assert tuned(chain, config, tmp_path, "--weights", path) == 1
    said = capsys.readouterr().err
    assert "classifier.1.weight (7, 512), in the model (64, 512). Name the layers" in said
    assert "training.new_layers" in said


def test_a_training_without_the_models_that_it_needs_is_refused(chain, config, tmp_path, capsys):
    assert distilled(chain, config, tmp_path) == 1
    assert "--others and --others-spec: give one for each of: teacher." in capsys.readouterr().err


FILES = {}


def published(weights, *, num_classes, **arguments):
    """What the library of the network of the chain publishes."""
    return Published(f"http://127.0.0.1:9/{FILES[weights]}", num_classes)


def test_published_weights_are_used_as_they_are(chain, tmp_path, monkeypatch):
    """Where they lie is in no key; what they were is in the provenance."""
    content = (chain / "model.safetensors").read_bytes()
    name = f"small-{hashlib.sha256(content).hexdigest()[:12]}.safetensors"
    monkeypatch.setitem(FILES, "best", name)
    spec = read_provenance(chain / "model.safetensors")["spec"] | {"training": None}
    spec |= {"_published_": f"{__name__}.published", "weights_root": str(tmp_path / "a")}
    facts = []
    for root, more in (("a", ()), ("b", ("--root", tmp_path / "b"))):
        (tmp_path / root).mkdir()
        shutil.copy(chain / "model.safetensors", tmp_path / root / name)
        output = tmp_path / f"{root}.safetensors"
        run(
            *("train", "--spec", json.dumps(spec | {"weights": "best"}), "--device", "cpu"),
            *("--seed", SEED, "--train", chain / "train.safetensors", *more),
            *("--output", output, "--history", tmp_path / f"{root}.json"),
        )
        found, given = load_file(output), load_file(chain / "model.safetensors")
        assert all(torch.equal(found[name], given[name]) for name in given)
        facts.append(read_provenance(output))
    assert facts[0]["key"] == facts[1]["key"]
    assert [fact["weights_file"] for fact in facts] == [name, name]
    assert facts[0]["spec"]["weights"] == "best"
