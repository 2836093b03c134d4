"""Running a stage as its command line does."""

from pathlib import Path

from advdetect.__main__ import main

SEED = "4"


def run(stage: str, *arguments: object) -> None:
    """Run a stage, which must succeed."""
    assert main([stage, *map(str, arguments)]) == 0


def run_feature(
    chain: Path, spec: object, source: object, output: Path, *arguments: object, name: str = "p"
) -> None:
    """Compute a feature of the model in a folder: of the clean images there, or of an attack's."""
    images = ["--data", chain / "test.safetensors"] if source == "clean" else ["--attack", source]
    run(
        *("feature", "--spec", spec, "--name", name, "--seed", SEED, "--device", "cpu"),
        *("--model", chain / "model.safetensors", *images, "--output", output, *arguments),
    )
