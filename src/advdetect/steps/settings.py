"""The settings that the files of a results folder were made with, and how two folders differ."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advdetect.files.experiment import MANIFEST, store_files
from advdetect.identity import name_without_key
from advdetect.io import read_provenance

#: By what it belongs to (such as ``attack fgsm``, or `RUN`) and name of a setting, its values as
#: text; there are several where the files of several seeds differ.
Settings = dict[str, dict[str, set[str]]]

RUN = "the run"
_OF_THE_RUN = ("advdetect", "python", "system", "hardware", "packages", "device", "threads", "seed")
_OF_THE_METHOD = ("activations", "evaluate_on")  # besides its specification
_CODE = "code fingerprint"


def read_settings(folder: Path) -> Settings:
    """Collect what the provenance of all files behind an experiment says.

    Args:
        folder: The experiment's folder.

    Returns:
        The settings; empty where the folder holds tables only.

    Raises:
        AdvdetectError: A file is damaged.
    """
    settings: Settings = {}
    if not (folder / MANIFEST).is_file():
        return settings
    for path in store_files(folder):
        for owner, name, value in _described(read_provenance(path), name_without_key(path)):
            settings.setdefault(owner, {}).setdefault(name, set()).add(value)
    return settings


def differing_settings(first: Settings, second: Settings) -> list[str]:
    """Say how the settings of two runs differ, in one line what is the same for many files.

    Args:
        first: Settings of the first run.
        second: Settings of the second.
    """
    lines = []
    for which, ours, theirs in (("first", first, second), ("second", second, first)):
        if alone := [owner for owner in ours if owner not in theirs]:
            lines.append(f"only in the {which}: {', '.join(alone)}")
    differences: dict[str, list[str]] = {}
    for owner in first.keys() & second.keys():
        for name in sorted(first[owner].keys() | second[owner].keys()):
            values = [_text(settings[owner].get(name)) for settings in (first, second)]
            if values[0] != values[1]:
                # The digits of a fingerprint tell a reader nothing.
                line = f"{name} differs" if name == _CODE else f"{name}: {' → '.join(values)}"
                differences.setdefault(line, []).append(owner)
    return lines + [f"{line} ({', '.join(sorted(of))})" for line, of in sorted(differences.items())]


def _text(values: set[str] | None) -> str:
    return "not there" if values is None else ", ".join(sorted(values))


def _described(facts: Mapping[str, Any], file: str) -> Iterator[tuple[str, str, str]]:
    """Yield owner, setting and value of all that a file's provenance says of its making."""
    for key in _OF_THE_RUN:
        if key in facts:
            yield from ((RUN, name, value) for name, value in flatten(key, facts[key]))
    step = facts.get("step", "unknown step")
    owner = step if step in ("prepare-data", "train") else f"{step} {facts.get('name', file)}"
    own = {key: facts[key] for key in _OF_THE_METHOD if key in facts}
    for name, value in flatten("", {**facts.get("spec", {}), **own}):
        yield owner, name, value
    yield owner, _CODE, str(facts.get("code"))


def flatten(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield the dotted names and the values of a tree as text; a list is one value.

    Args:
        name: What stands before the names; empty at the root.
        value: A mapping, perhaps of mappings, or a value.
    """
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(f"{name}.{key}" if name else str(key), inner)
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
