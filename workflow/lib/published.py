"""A published file and its stamp, and the registry that gives both their key.

A published file has a name that says nothing of what made it. Beside it lies a stamp, a file whose
name holds the key of its settings, its code and its inputs, and which takes the place of the one
before: where the stamp that is wanted is not there, the file is made again, in a copied or moved
folder too, and after a change back.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advdetect.identity import canonical_json, digest, make_key
from experiment import Spec
from store_file import StoreFile

#: Outputs that a step knows by itself where to write.
ALSO = "also"
#: Outputs of a step that is told only the folder in which they lie.
FOLDER = "folder"
Sources = Mapping[str, Sequence["StoreFile | str"]]


@dataclass(frozen=True)
class Published:
    """Files of an experiment that one job makes.

    Attributes:
        rule: Name of its rule, such as ``figure_roc``.
        step: The step.
        options: The step's options by name, those for files left out.
        inputs: What it is made from, by option: files of the store and paths of published files.
        outputs: Paths by option.
        key: Of all of that.
        category: Where Snakemake's own report shows it, if it does.
        is_wanted: Whether it is made without being asked for by its name.
    """

    rule: str
    step: str
    options: Mapping[str, Any]
    inputs: Sources
    outputs: Mapping[str, Any]
    key: str
    stamp: str
    category: str = ""
    is_wanted: bool = True

    @property
    def is_local(self) -> bool:
        """Whether it is made where Snakemake is called; what resamples goes to the cluster."""
        return self.step not in ("evaluate", "paired")

    @property
    def words(self) -> list[str]:
        """The step and its options as words of a command."""
        words = [self.step]
        for name, value in self.options.items():
            words.append(f"--{name.replace('_', '-')}")
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                words += value
            else:
                words.append(value if isinstance(value, str) else _json(name, value))
        return words


def _json(name: str, value: Any) -> str:
    """Return an option's value as text; the order of the runs is that of the tables."""
    return json.dumps(value, ensure_ascii=False) if name == "runs" else canonical_json(value)


class Publisher:
    """Makes published files known, each after those that it is made from.

    Args:
        folder: The experiment's folder.
        code: Returns the fingerprint of a step and of the methods that a specification names.
    """

    def __init__(self, folder: str, code: Callable[[str, Spec], str]) -> None:
        self.folder = folder
        self._code = code
        self.jobs: dict[str, Published] = {}
        self._keys: dict[str, str] = {}

    def add(
        self,
        rule: str,
        step: str,
        options: Mapping[str, Any],
        inputs: Sources,
        outputs: Mapping[str, Any],
        category: str = "",
        is_wanted: bool = True,
        **facts: object,
    ) -> Published:
        """Make files known that one job makes.

        Args:
            rule: Name of its rule.
            step: The step.
            options: Its options by name; a list of texts is several words, other values are JSON.
            inputs: Files of the store and paths of published or of the project's own files.
            outputs: Paths by option.
            category: Where Snakemake's own report shows it, if it does.
            is_wanted: Whether it is made without being asked for.
            facts: What else they depend on.
        """
        spec = options.get("spec", {})
        made_from = {role: [self._key(file) for file in files] for role, files in inputs.items()}
        code = self._code(step, spec if isinstance(spec, dict) else {})
        texts = {name: _json(name, value) for name, value in options.items()}
        key = make_key(step, texts, code, inputs=made_from, **facts)
        stamp = f"{self.folder}/.stamps/{rule}.{key}.json"
        job = Published(rule, step, options, inputs, outputs, key, stamp, category, is_wanted)
        for paths in outputs.values():
            self._keys |= dict.fromkeys([paths] if isinstance(paths, str) else paths, key)
        self.jobs[rule] = job
        return job

    def _key(self, file: StoreFile | str) -> str:
        """Return the path of a file of the store, a published file's key or another's hash."""
        if isinstance(file, StoreFile):
            return file.path
        return self._keys.get(file) or digest(Path(file).read_bytes())
