"""The words of commands: of the steps, and of Snakemake for a whole experiment."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiment import Spec
from published import ALSO, FOLDER
from store_file import StoreFile

RUNTIME_SETTINGS = ("device", "threads", "batch_size", "memory")  # they make nothing stale
STAMPS = "stamps"  # of the published files that a job reads; no option of its step


def built_from(model: StoreFile | str) -> Spec:
    """Return what of a model's specification it is built from."""
    assert isinstance(model, StoreFile)
    spec = json.loads(model.option("--spec"))
    return {name: spec[name] for name in ("_target_", "arguments") if name in spec}


def file_options(files: Any) -> list[str]:
    """Return the named files of a rule as options of its step."""
    words = []
    for name, paths in files.items():
        if name in (ALSO, STAMPS):
            continue
        if name == FOLDER:  # which may lie in an object store, or below the prefix of a module
            words += ["--output", str(Path(paths[0]).parent)]
            continue
        words += [f"--{name.replace('_', '-')}"]
        words += [paths] if isinstance(paths, str) else list(paths)
    return words


def _lasting(overrides: str | list[str]) -> str | list[str]:
    """Return the overrides without those that change no result."""
    texts = overrides.split(" ") if isinstance(overrides, str) else overrides
    kept = [text for text in texts if text.partition("=")[0] not in RUNTIME_SETTINGS]
    return " ".join(kept) if isinstance(overrides, str) else kept


def command_line(workflow_config: Mapping[str, Any]) -> str:
    """Return the command that makes an experiment, by Snakemake's own configuration."""
    shown = {k: v for k, v in workflow_config.items() if k not in RUNTIME_SETTINGS}
    if overrides := _lasting(shown.pop("overrides", [])):
        shown["overrides"] = overrides
    config = " ".join(
        f"{key}={shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
        for key, value in shown.items()
    )
    return f"snakemake --cores all --config {config}" if config else "snakemake --cores all"
