"""List the store files that stand behind an experiment: all of them, and those of each cell."""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.files.experiment import STORE
from advdetect.files.texts import write_json
from advdetect.identity import key_in_name
from advdetect.io import read_provenance
from advdetect.many_classes import CHOSEN
from advdetect.progress import report
from advdetect.steps import options

_SUFFIXES = (".safetensors", ".parquet")
_LISTED = ("step", "key", "seed", "run", "name", "attack", CHOSEN)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument(
        "--files",
        nargs="+",
        required=True,
        metavar="FILE",
        help="the store files that tables and figures are made from",
    )
    options.add_runs(parser)
    parser.add_argument("--output", required=True, help="JSON file to write")


def run(arguments: argparse.Namespace) -> None:
    """Follow what each file was made from and write all of it."""
    store = store_of(arguments.files[0])
    by_key = {  # of a job of several files the first one, which stands for all
        key: path
        for path in sorted(store.rglob("*"), reverse=True)
        if path.suffix in _SUFFIXES and (key := key_in_name(path))
    }
    facts: dict[str, dict[str, Any]] = {}
    waiting = [Path(path) for path in arguments.files]
    while waiting:
        path = waiting.pop()
        name = str(path.relative_to(store))
        if name not in facts:
            facts[name] = read_provenance(path)
            waiting += [by_key[key] for key in _keys(facts[name]["inputs"]) if key in by_key]
    names = {facts["key"]: name for name, facts in facts.items()}
    files = {
        name: {
            **{key: fact[key] for key in _LISTED if key in fact},
            "made_from": [names[key] for key in _keys(fact["inputs"]) if key in names],
        }
        for name, fact in sorted(facts.items())
    }
    cells = list(_cells(files, arguments.runs))
    write_json(arguments.output, {"cells": cells, "files": files})
    report(f"manifest: {len(files)} files of the store behind {len(cells)} cells")


def store_of(path: str | Path) -> Path:
    """Return the folder of the store that a file lies in.

    Raises:
        AdvdetectError: It lies in none.
    """
    for folder in Path(path).parents:
        if folder.name == STORE:
            return folder
    raise AdvdetectError(f"{path} lies in no folder called store: name files of the store.")


def _keys(inputs: Mapping[str, str | list[str]]) -> Iterable[str]:
    for keys in inputs.values():
        yield from [keys] if isinstance(keys, str) else keys


def _cells(
    files: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]
) -> Iterable[dict[str, Any]]:
    """Yield, for each feature, attack and seed, the files that a number of the tables rests on."""
    for name, scores in files.items():
        if scores["step"] != "score":
            continue
        attacks = [made for made in scores["made_from"] if "/attacks/" in made]
        features = [made for made in scores["made_from"] if "/features/" in made]
        for attack in attacks:
            yield {
                "run": labels.get(scores.get("run", ""), ""),  # as in the tables
                "seed": scores["seed"],
                "feature": scores["name"],
                "attack": files[attack]["name"],
                "scores": name,
                "attack_file": attack,
                "feature_files": [
                    file for file in features if files[attack]["key"] in Path(file).parent.name
                ],
            }
