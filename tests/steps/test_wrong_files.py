"""Whole files of another kind than a step wants: each is refused in one sentence."""

import json
from pathlib import Path

import pandas as pd
import pytest
from step_runs import SEED, detection_spec, figure_spec, judged, model_of, run, run_feature

from advdetect.__main__ import main
from advdetect.io import read_provenance, write_table

CONTROL = {"_target_": "advdetect.detectors.controls.true_labels", "_sees_labels_": True}
DETECTION = detection_spec([["true_labels", CONTROL | {"_control_": True}]])
#: Steps that are tried with every kind of file; the others with one of each format.
WHOLE = ("transfer", "score", "tables", "figure roc", "figure cross_attack")


@pytest.fixture(scope="module")
def files(chain, config, tmp_path_factory) -> dict[str, Path]:
    """A file of every kind, whole and of the same run."""
    folder = tmp_path_factory.mktemp("kinds")
    made = {name: chain / f"{name}.safetensors" for name in ("train", "test", "model", "clean")}
    made |= {"attack": chain / "otcm.safetensors", "history": chain / "history.json"}
    made |= {name: folder / f"{name}.parquet" for name in ("feature", "attacked", "scores")}
    made["fitted"] = folder / "fitted.safetensors"
    run(
        *("fit-feature", "--spec", config / "feature/kd.yaml", "--seed", SEED, "--device", "cpu"),
        *("--train", made["train"], *model_of(chain), "--output", made["fitted"]),
    )
    for source, name in (("clean", "feature"), (made["attack"], "attacked")):
        run_feature(chain, config / "feature/max_probability.yaml", source, made[name])
    common = ["--spec", json.dumps(DETECTION), "--name", "p", "--seed", SEED]
    common += ["--features", made["feature"], made["attacked"], "--attacks", made["attack"]]
    made |= {name: folder / f"{name}.parquet" for name in ("detectors", "split", "thresholds")}
    written = [f"--{name}" for name in ("split", "thresholds")]
    run(
        *("fit-detectors", *common, written[0], made["split"], written[1], made["thresholds"]),
        *("--output", made["detectors"]),
    )
    read = ["--detectors", made["detectors"], "--split", made["split"]]
    run("score", *common, *read, "--output", made["scores"])
    other, facts = folder / "other.parquet", read_provenance(made["scores"])
    write_table(other, pd.read_parquet(made["scores"]), facts | {"name": "q"})
    made["metrics"], made["paired"] = folder / "metrics.csv", folder / "paired.csv"
    primary = ["--primary-detector", "true_labels", "--replicates", "100"]
    scored = ["--scores", made["scores"], *primary]
    run("evaluate", "--name", "p", *scored, "--output", made["metrics"])
    scored = ["--scores", made["scores"], other, *primary]
    run("paired", *scored, "--output", made["paired"])
    return made


def fails(capsys, *arguments: object) -> str:
    """Run a step that must fail; return its error."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    *_, line = capsys.readouterr().err.splitlines()
    start = f"advdetect {arguments[0]}: error: "
    assert line.startswith(start)
    return line.removeprefix(start)


def commands(chain: Path, config: Path, files: dict[str, Path]) -> dict[str, dict[str, object]]:
    """Return each step's options: what is read, by option, and all others."""
    judging = dict(zip(judged(chain)[::2], judged(chain)[1::2], strict=True))
    del judging["--model-spec"]
    model = {"--model": judging["--model"]}
    spec = ["--model-spec", judged(chain)[3], "--seed", SEED, "--device", "cpu"]
    kd = config / "feature/kd.yaml"
    features = {"--features": [files["feature"], files["attacked"]], "--attacks": files["attack"]}
    detection = ["--spec", json.dumps(DETECTION), "--name", "p", "--seed", SEED]
    metrics = {"--metrics": files["metrics"], "--paired": files["paired"]}
    primary = ["--primary-detector", "true_labels"]
    return {
        "train": {
            "reads": {"--train": files["train"]},
            "others": ["--spec", config / "model/small_cnn.yaml", "--seed", SEED],
        },
        "classify": {
            "reads": {**model, "--test": files["test"]},
            "others": ["--spec", "{}", *spec[:2], "--device", "cpu"],
        },
        "attack": {
            "reads": judging,
            "others": ["--spec", config / "attack/fgsm.yaml", "--name", "fgsm", *spec],
        },
        "transfer": {
            "reads": {**judging, "--crafted": files["attack"]},
            "others": ["--spec", "{}", "--name", "fgsm", *spec],
        },
        "fit-feature": {
            "reads": {**model, "--train": files["train"]},
            "others": ["--spec", kd, *spec],
        },
        "feature": {
            "reads": {**judging, "--attack": files["attack"], "--fitted": files["fitted"]},
            "others": ["--spec", kd, "--name", "kd", *spec],
        },
        "sensitivity": {
            "reads": {**model, "--test": files["test"], "--attack": files["attack"]},
            "others": ["--spec", '{"classes": "all", "examples": 1}', *spec[:2], "--device", "cpu"],
        },
        "fit-detectors": {"reads": features, "others": detection},
        "score": {
            "reads": {**features, "--detectors": files["detectors"], "--split": files["split"]},
            "others": detection,
        },
        "evaluate": {"reads": {"--scores": files["scores"]}, "others": ["--name", "p", *primary]},
        "paired": {"reads": {"--scores": files["scores"]}, "others": primary},
        "tables": {
            "reads": {**metrics, "--attacks": files["attack"]},
            "others": ["--detector", "true_labels"],
        },
        **{
            f"figure {kind}": {
                "reads": {"--inputs": files[name]},
                "others": [
                    *("--spec", figure_spec(config, kind, detector="true_labels", feature="p")),
                    *("--data", files["test"]),
                ],
            }
            for kind, name in {
                "roc": "scores",
                "gallery": "attack",
                "training": "history",
                "scores": "scores",
                "fooling_rate": "attack",
                "cross_attack": "metrics",
            }.items()
        },
    }


STEPS = (
    *("train", "classify", "attack", "transfer", "fit-feature", "feature", "sensitivity"),
    *("fit-detectors", "score", "evaluate", "paired", "tables", "figure roc", "figure gallery"),
    *("figure training", "figure scores", "figure fooling_rate", "figure cross_attack"),
)


@pytest.mark.parametrize("step", STEPS)
def test_a_file_of_another_kind_is_refused(chain, config, files, capsys, tmp_path, step):
    command = commands(chain, config, files)[step]
    written = {"train": ["history"], "fit-detectors": ["split", "thresholds"]}
    output = [f"--output={tmp_path / 'output'}"]
    output += [f"--{name}={tmp_path / name}" for name in written.get(step, [])]
    for option, right in command["reads"].items():
        wrong = [path for path in files.values() if path not in listed(right)]
        for path in {p.suffix: p for p in wrong}.values() if step not in WHOLE else wrong:
            reads = [
                word
                for other, value in command["reads"].items()
                for word in (other, *listed(path if other == option else value))
            ]
            error = fails(capsys, step.split()[0], *command["others"], *reads, *output)
            assert "failed with" not in error, (option, path, error)
            assert not (tmp_path / "output").exists()


def listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
